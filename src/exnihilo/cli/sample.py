"""`exnihilo sample`: what a trained model draws, in the data's own form."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import Json, RunPath, Seed, Threads, pairs

if TYPE_CHECKING:
    from torch import Tensor

    from exnihilo.core import DataSpec, GenerativeModel


PATHS = 8  # samples whose way from noise is shown

Place = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help=".png to look at, .npz, .csv (rows, series), .txt, .wav, or a folder for one file each. Texts are printed"
        " without.",
    ),
]
SamplingOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-o", metavar="OPTION=VALUE", help="A sampling option, e.g. -o steps=50; `exnihilo show NAME` lists them."
    ),
]


def sample(
    run: RunPath,
    out: Place = None,
    n: Annotated[int | None, typer.Option("-n", help="How many; 64 if not given, of a prompt one.")] = None,
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help="A class by name, for models that take one.")] = None,
    text: Annotated[
        str | None, typer.Option(help="A prompt for models of text, which they go on from, up to a window in all.")
    ] = None,
    o: SamplingOptions = None,
    path: Annotated[
        Path | None,
        typer.Option(
            "--path", metavar="FILE.png", help="A picture of the way from noise to the first samples, of denoisers."
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

        exnihilo sample runs/ddpm -n 8 --path path.png

        exnihilo sample runs/vae -n 1000 --label setosa --out samples.csv

        exnihilo sample runs/gpt --text "Return the" -o temperature=0.8

        exnihilo sample runs/autoencoder -n 64 --density --out samples.png
    """
    import exnihilo as xn
    from exnihilo.explore import with_density
    from exnihilo.training import RunFolder
    from exnihilo.training.hardware import use_threads

    record = RunFolder(run).record()
    model = xn.load(run)
    n = n if n is not None else 1 if text is not None else 64 if path is None or out is not None else PATHS
    prompt = _prompt(model.spec, text, n, out, path)
    if path is not None:
        model.require("denoise")
    with use_threads(threads or record["threads"]):
        if density:
            model = with_density(model, load_source(record, None, None))
        x = model.sample(n, seed=seed, label=label, text=prompt, **pairs(o, "-o"))
        if path is not None:
            _save_path(model, path, min(n, PATHS), {"seed": seed, "label": label, **pairs(o, "-o")}, record["weights"])
    if text and not model.spec.decode(x[:1])[0].startswith(text):
        remark("The prompt is too long for a window that it is to be gone on from: its last tokens were kept.")
    asked = pairs(o, "-o") | {"label": label, "text": text, "density": density or None}
    _leave(model.spec, x, out, path, _facts(record, asked, seed), json)


def _facts(record: dict[str, Any], asked: dict[str, Any], seed: int) -> dict[str, Any]:
    """How samples were made, as their files say it."""
    return {
        "recipe": record["recipe"],
        "options": dumps(record["options"]),
        "sampling": dumps({name: value for name, value in asked.items() if value is not None}),
        "seed": seed,
        "weights": record["weights"],
    }


def _leave(spec: DataSpec, x: Tensor, out: Path | None, path: Path | None, facts: dict[str, Any], json: bool) -> None:
    """Save the samples, or print those that are texts, and say where they are."""
    from exnihilo.data.render import joined_texts, save_samples

    files = [] if out is None else save_samples(spec, x, out, metadata=facts)
    texts = spec.decode(x) if out is None and spec.kind == "text" else None
    if json:
        print_json({"files": files, **({"texts": texts} if texts else {}), **({"path": path} if path else {}), **facts})
    elif texts is not None:
        print(joined_texts(texts))
    elif out is not None:
        where = files[0] if len(files) == 1 else out
        print(f"{len(x)} samples of {facts['recipe']}, seed {facts['seed']}: {where}")


def _save_path(model: GenerativeModel, path: Path, n: int, asked: dict[str, Any], weights: str) -> None:
    """The picture of the way to the first n samples."""
    from exnihilo.data.render import save_picture
    from exnihilo.evaluation.denoising import POINTS, denoising_path

    way = denoising_path(model, n if model.spec.kind == "image" else POINTS, **asked)
    save_picture(way.picture(model.spec), path, {"recipe": model.recipe, "sampling": dumps(asked), "weights": weights})
    remark(f"The way from noise: {path}")


def _prompt(spec: DataSpec, text: str | None, n: int, out: Path | None, path: Path | None) -> Tensor | None:
    """[n, P] the ids of a prompt, the same for all samples; an OptionError for what only texts take."""
    from exnihilo.core import OptionError
    from exnihilo.evaluation.denoising import check_shown

    if path is not None:
        check_shown(spec)  # before the work
        if path.suffix.lower() != ".png":
            raise OptionError(f"--path {path} is not allowed. It takes a file that ends in .png.")
    if out is None and spec.kind != "text" and path is None:
        raise OptionError(f"Samples of {spec.kind} data need a place: --out PATH.")
    if text is None:
        return None
    if spec.kind != "text":
        raise OptionError(f"--text is for models of text; this one was trained on {spec.kind} data. Leave it out.")
    return spec.tokenize(text).expand(max(n, 0), -1)
