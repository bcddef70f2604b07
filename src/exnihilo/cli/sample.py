"""`exnihilo sample`: what a trained model draws, in the data's own form."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json
from exnihilo.cli.parameters import Json, RunPath, Seed, Threads, pairs


def sample(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help=".png to look at, .npz, .csv (rows, series), .txt, .wav, or a folder for one file each.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help="A class by name, for models that take one.")] = None,
    o: Annotated[
        list[str] | None,
        typer.Option(
            "-o", metavar="OPTION=VALUE", help="A sampling option, e.g. -o steps=50; `exnihilo show NAME` lists them."
        ),
    ] = None,
    density: Annotated[
        bool,
        typer.Option("--density", help="Fit a density to the codes of the run's data first, for models without one."),
    ] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Draw samples from a trained model and save them as what the data were: pictures, rows, texts, sounds, series.

    Sample 7 of seed 0 is the same however many are drawn.

        exnihilo sample runs/ddpm -n 64 -o steps=50 --out samples.png

        exnihilo sample runs/vae -n 1000 --label setosa --out samples.csv

        exnihilo sample runs/autoencoder -n 64 --density --out samples.png
    """
    import exnihilo as xn
    from exnihilo.data.render import save_samples
    from exnihilo.explore import with_density
    from exnihilo.training import RunFolder
    from exnihilo.training.hardware import use_threads

    record = RunFolder(run).record()
    model = xn.load(run)
    with use_threads(threads or record["threads"]):
        if density:
            model = with_density(model, load_source(record, None, None))
        x = model.sample(n, seed=seed, label=label, **pairs(o, "-o"))
    facts = {
        "recipe": record["recipe"],
        "options": dumps(record["options"]),
        "sampling": dumps(
            pairs(o, "-o") | ({"label": label} if label is not None else {}) | ({"density": True} if density else {})
        ),
        "seed": seed,
        "weights": record["weights"],
    }
    files = save_samples(model.spec, x, out, metadata=facts)
    if json:
        return print_json({"files": files, **facts})
    print(f"{n} samples of {record['recipe']}, seed {seed}: {files[0] if len(files) == 1 else out}")
