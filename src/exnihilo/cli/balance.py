"""`exnihilo balance`: samples for the classes that are too small."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads


def balance(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH", help="A .csv with the class as a column, a folder of pictures with one per class, or .npz."
        ),
    ],
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw as many samples of every class as it lacks to the largest, and say what a classifier gains from them.

    For models that are trained with labels and can be asked for a class. The samples alone are saved, to be put beside
    the real examples.

        exnihilo balance runs/cvae --out more.csv

        exnihilo balance runs/ddpm --out more/
    """
    from exnihilo.tasks.balance import balance, check_place

    with trained(run, threads) as (model, record):
        check_place(model.spec, out)  # before the work
        balanced = balance(model, load_source(record, data, d), seed=seed)
    column = record["data"]["options"].get("label")
    files = balanced.save(out, column=column if column not in (None, "auto") else "label")
    counts = {name: {"real": real, "samples": drawn} for name, (real, drawn) in balanced.counts.items()}
    if json:
        return print_json({"files": len(files), "path": str(out), "counts": counts, **balanced.judged.to_json()})
    print_judged(balanced.judged)
    named = ", ".join(f"{name} {drawn}" for name, (_, drawn) in balanced.counts.items() if drawn)
    print(f"{len(balanced.x)} samples of {record['recipe']} ({named}): {out}")
