"""The parameters that several verbs share, and how `option=value` is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WORK = "What it is done with"

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model (`exnihilo models`), or your own recipe as FILE.py:NAME.")
]
_source = typer.Argument(
    metavar="SOURCE",
    help="Your data: a folder of images, a .csv .tsv .parquet .npy .npz or idx file; or an embedded set such as digits"
    " or moons (`exnihilo data` lists them).",
)
Source = Annotated[str, _source]
SomeSource = Annotated[str | None, _source]
OtherData = Annotated[
    str | None, typer.Option("--data", metavar="SOURCE", help="A file, a folder or an embedded set (`exnihilo data`).")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `exnihilo train` leaves it.")]

DataOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        metavar="OPTION=VALUE",
        help="How to read the data, e.g. -d label=species -d size=64; `exnihilo data SOURCE` says what there is.",
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-o", metavar="OPTION=VALUE", help="An option of the model, e.g. -o width=32; `exnihilo show NAME` lists them."
    ),
]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal results.")]
Seconds = Annotated[float | None, typer.Option(help="Train for so many seconds.")]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 ...; auto takes a GPU if there is one.", rich_help_panel=WORK)
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Processor threads; measured before training if not given.", rich_help_panel=WORK),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew, over what the folder holds.")]


def pairs(given: list[str] | None, flag: str) -> dict[str, Any]:
    """`["width=32"]` -> `{"width": "32"}`; names may be written with dashes. Values are checked by who takes them."""
    from exnihilo.core import OptionError

    options: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            example = "width=32" if flag == "-o" else "label=species"
            raise OptionError(f"{flag} {text} is not allowed. It takes option=value, for example {flag} {example}.")
        if name in options:
            raise OptionError(f"{flag} {name} is given twice: {options[name]} and {value}. Give it once.")
        options[name] = value
    return options
