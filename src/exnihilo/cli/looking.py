"""What the verbs that look into a model's codes share: their options, how a run is opened, how a picture is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import pairs

if TYPE_CHECKING:
    from torch import Tensor

    from exnihilo.core import GenerativeModel
    from exnihilo.data import Dataset

Out = Annotated[Path | None, typer.Option(metavar="FILE.png", help="The picture; by default previews/VERB-RUN.png.")]
Drawn = Annotated[
    bool,
    typer.Option("--drawn", help="Begin with samples of the model, not with examples; so it is where none is encoded."),
]
Split = Annotated[Literal["test", "validation", "train"], typer.Option(help="The split that examples are taken from.")]
Label = Annotated[str | None, typer.Option(help="Decode as this class, for models that take one.")]
Steps = Annotated[int, typer.Option(help="Places on the way.")]
Start = Annotated[
    str | None,
    typer.Option("--from", metavar="NUMBERS", help="Examples by number in the split, or samples of the seed: 3,17."),
]


class View(Protocol):
    """What every exploration results in."""

    def facts(self) -> dict[str, Any]: ...

    def picture(self) -> Any: ...


@dataclass(frozen=True)
class Opened:
    """A trained model, its record, and the data its codes are taken from: None where codes are drawn."""

    model: GenerativeModel
    record: dict[str, Any]
    data: Dataset | None
    split: str
    seed: int

    def codes(self, numbers: list[int]) -> tuple[Tensor, Tensor | None]:
        """The codes of examples, with these, or of samples."""
        from exnihilo.explore import codes_of_draws, codes_of_examples

        if self.data is None:
            return codes_of_draws(self.model, numbers, seed=self.seed), None
        return codes_of_examples(self.model, self.data, numbers, split=self.split)

    def leave(self, view: View, verb: str, run: Path, out: Path | None, asked: dict[str, Any], json: bool) -> None:
        """Save the picture, which says how it was made, and print the facts where JSON is asked for."""
        from exnihilo.core import OptionError
        from exnihilo.data.render import save_picture

        out = out or Path("previews") / f"{verb}-{run.resolve().name}.png"
        if out.suffix.lower() != ".png":
            raise OptionError(f"--out {out} is not allowed. It takes a file that ends in .png.")
        facts = {
            "recipe": self.record["recipe"],
            "options": dumps(self.record["options"]),
            "weights": self.record["weights"],
            "seed": self.seed,
            verb: dumps(asked),
        }
        save_picture(view.picture(), out, facts)
        if json:
            print_json({"picture": str(out), **facts, **view.facts()})
        else:
            remark(f"Picture: {out}")


@contextmanager
def opened(
    run: Path,
    *,
    data: str | None,
    d: list[str] | None,
    split: str,
    seed: int,
    drawn: bool,
    threads: int | None,
    label: str | None = None,
) -> Iterator[Opened]:
    """A run with the data it was trained on, or others, and its number of threads."""
    import exnihilo as xn
    from exnihilo.explore import of_class
    from exnihilo.training import RunFolder
    from exnihilo.training.hardware import use_threads

    record = RunFolder(run).record()
    model = xn.load(run)
    if label is not None:
        model = of_class(model, label)
    source = None
    if not drawn and "encode" in model.capabilities:
        source = load_source(record, data, d)
    with use_threads(threads or record["threads"]):
        yield Opened(model, record, source, split, seed)


def load_source(record: dict[str, Any], data: str | None, d: list[str] | None) -> Dataset:
    """What a run was trained on, read as it was then but for the options given; or another source.

    An OptionError for a run that was not trained here, if no source is named.
    """
    import exnihilo as xn
    from exnihilo.core import OptionError

    if data is not None:
        return xn.load_data(data, **pairs(d, "-d"))
    if record["data"]["fingerprint"] is None:
        raise OptionError(
            f"This run was not trained here but read from {record['data']['source']}, so it has no data of its own."
            " Name some that are like those it was trained on: --data SOURCE."
        )
    return xn.load_data(record["data"]["source"], **(record["data"]["options"] | pairs(d, "-d")))


def numbers(text: str, flag: str) -> list[int]:
    """`3,17` -> [3, 17]; an OptionError says how to write it."""
    from exnihilo.core import OptionError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{flag} {text} is not allowed. It takes whole numbers, as in {flag} 3,17.") from None
