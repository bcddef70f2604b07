"""`exnihilo restore`: what is hidden, too small or without colour, drawn by a model of such pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exnihilo.cli.judged import trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads, pairs
from exnihilo.cli.restoring import Class, Draws, Folder, Mask, Some, leave, read, read_mask
from exnihilo.cli.sample import SamplingOptions

Given = Annotated[
    str | None,
    typer.Argument(
        metavar="[PICTURES]",
        help="A picture or a folder of them. Without, pictures of the run's test split, and the results are judged.",
    ),
]


def restore(
    run: RunPath,
    pictures: Given = None,
    mask: Mask = None,
    factor: Annotated[
        int | None, typer.Option(help="The pictures are so many times too small: enlarge them to the model's size.")
    ] = None,
    colour: Annotated[bool, typer.Option("--colour", help="The pictures are grey: colour them.")] = False,
    label: Class = None,
    n: Draws = 1,
    repeats: Annotated[
        int | None, typer.Option(help="How often every ten steps are done: 1 is fast, more fit better together; 5.")
    ] = None,
    o: SamplingOptions = None,
    limit: Some = 200,
    out: Folder = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw what is missing of pictures: what a mask hides, detail, or colour. The model needs no training for it.

    What is known stays exactly as it is. Models that denoise step by step do all three; what a mask hides is drawn by
    every model that fills gaps.

        exnihilo restore runs/ddpm photo.png --mask mask.png --out restored

        exnihilo restore runs/ddpm small/ --factor 4 -n 4 --out large

        exnihilo restore runs/ddpm --mask half
    """
    from exnihilo.tasks import restore
    from exnihilo.tasks.restore import REPEATS

    out = out or Path("previews") / f"restore-{run.resolve().name}"
    with trained(run, threads) as (model, record):
        given = read(model.spec, pictures, d, colour=colour, factor=factor or 1)
        known = read_mask(model.spec, mask, given)
        restored = restore(
            model, load_source(record, None, d) if given is None else given.x, mask=known, factor=factor, colour=colour,
            n=n, label=label, repeats=REPEATS if repeats is None else repeats, names=given.names if given else (),
            limit=limit, seed=seed, **pairs(o, "-o"),
        )  # fmt: skip
    leave(restored, out, json, {"seed": seed, "weights": record["weights"]})
