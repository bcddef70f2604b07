"""`exnihilo represent`: what a model's codes are good for."""

from __future__ import annotations

from typing import Annotated

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads


def represent(
    run: RunPath,
    labels: Annotated[
        list[int] | None,
        typer.Option(help="Known labels per class; may be given several times. All are tried as well."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Also train a network that begins as the encoder, and one from scratch, for so many updates."
        ),
    ] = None,
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge codes as features: a linear classifier on them, beside one on the raw data and on principal components.

    With few labels and with all; accuracy is of the test split.

        exnihilo represent runs/vae

        exnihilo represent runs/vae --labels 1 --labels 10 --steps 300
    """
    from exnihilo.tasks import initialise, represent

    few = labels or [10]
    with trained(run, threads) as (model, record):
        loaded = load_source(record, data, d)
        answers = [represent(model, loaded, labels=(*few, None), seed=seed)]
        if steps is not None:
            answers += [initialise(model, loaded, labels=k, steps=steps, seed=seed) for k in few]
    if json:
        return print_json([judged.to_json() for judged in answers])
    for judged in answers:
        print_judged(judged)
