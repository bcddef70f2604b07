"""`exnihilo compare`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import DataOptions, Device, Fresh, Json, Seed, Threads, pairs

SECONDS = 60.0  # a model, where no budget is given


def compare(
    data: Annotated[
        str, typer.Option("--data", metavar="SOURCE", help="A file, a folder or an embedded set (`exnihilo data`).")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the report and the runs go.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAMES]",
            help="Models, also with options (vae:latent=2), or your own (FILE.py:NAME); without any, a line-up of deep"
            " and classical models that suits the data.",
        ),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help=f"The budget of each model; {SECONDS:g} if not given.")] = None,
    d: DataOptions = None,
    seed: Seed = 0,
    fresh: Fresh = False,
    json: Json = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train several models on your data under an equal budget and write a report that compares them.

    Real data, noise and classical baselines stand in every table. Models that are finished are reused when the command
    is run again.

        exnihilo compare --data digits --out reports/digits

        exnihilo compare vae:latent=2 vae:latent=16 gmm --data table.csv -d label=species --out reports/latent
    """
    import exnihilo as xn

    if seconds is None:
        seconds = SECONDS
        remark(f"No budget given: {SECONDS:g} seconds a model. Choose with --seconds S.")
    loaded = xn.load_data(data, **pairs(d, "-d"))
    report = xn.compare(
        names, loaded, seconds=seconds, out=out, seed=seed, device=device, threads=threads, fresh=fresh
    )  # fmt: skip
    if json:
        return print_json(report.to_json())
    print(report.text())
    print(f"\nreport: {out / 'report.html'}")
