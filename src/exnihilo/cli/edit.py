"""`exnihilo edit`: a model makes of a rough or other picture one of its own, near it or far."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exnihilo.cli.judged import trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads, pairs
from exnihilo.cli.restore import Given
from exnihilo.cli.restoring import Class, Draws, Folder, Mask, Some, leave, read, read_mask
from exnihilo.cli.sample import SamplingOptions


def edit(
    run: RunPath,
    pictures: Given = None,
    strength: Annotated[
        float, typer.Option(help="From near 0, the picture as it is, to 1, a new one of which nothing is left.")
    ] = 0.5,
    label: Class = None,
    way: Annotated[
        Literal["auto", "noise", "inversion"],
        typer.Option(help="Noise and denoise the picture, or turn its code; auto asks what the model can."),
    ] = "auto",
    mask: Mask = None,
    n: Draws = 1,
    o: SamplingOptions = None,
    rough: Annotated[
        int, typer.Option(help="To judge: test pictures in squares of so many pixels are the guides.")
    ] = 2,
    limit: Some = 200,
    out: Folder = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Make of a picture - a sketch, a rough version, another example - one that the model could have drawn.

    With a mask only what it shows in white is changed. Several versions (-n) are variations of one picture.

        exnihilo edit runs/ddpm sketch.png --strength 0.6 -n 4 --out edited

        exnihilo edit runs/ddpm seven.png --label 9 --strength 0.5 -o guidance=2

        exnihilo edit runs/vae --way inversion
    """
    from exnihilo.tasks import edit

    out = out or Path("previews") / f"edit-{run.resolve().name}"
    with trained(run, threads) as (model, record):
        given = read(model.spec, pictures, d)
        known = read_mask(model.spec, mask, given)
        edited = edit(
            model, load_source(record, None, d) if given is None else given.x, strength=strength, label=label, way=way,
            mask=known, n=n, names=given.names if given else (), rough=rough, limit=limit, seed=seed, **pairs(o, "-o"),
        )  # fmt: skip
    leave(edited, out, json, {"seed": seed, "weights": record["weights"]})
