"""`exnihilo train`: one model on one source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import (
    WORK,
    DataOptions,
    Device,
    Fresh,
    Json,
    ModelOptions,
    Name,
    Seconds,
    Seed,
    Source,
    Threads,
    pairs,
)

if TYPE_CHECKING:
    from exnihilo.training import Run

SECONDS = 60.0  # where no budget is given
STOPPED = 130


def train(
    name: Name,
    source: Source,
    steps: Annotated[int | None, typer.Option(help="Train for so many updates.")] = None,
    seconds: Seconds = None,
    o: ModelOptions = None,
    d: DataOptions = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/NAME-SOURCE.")] = None,
    fresh: Fresh = False,
    json: Json = False,
    device: Device = "auto",
    threads: Threads = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the losses.", rich_help_panel=WORK)
    ] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=WORK)] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples per update.", rich_help_panel=WORK)] = None,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts in which a batch passes through memory.", rich_help_panel=WORK)
    ] = 1,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events too.", rich_help_panel=WORK)
    ] = False,
) -> None:
    """Train a model. Give a budget, --steps or --seconds; the same command continues a run that was stopped.

    exnihilo train ddpm digits --seconds 120 --out runs/ddpm

    exnihilo train vae table.csv -d label=species -o latent=8 --steps 5000

    exnihilo train my_models.py:my_recipe pictures/ -d size=32
    """
    import exnihilo as xn
    import exnihilo.models  # registers every recipe
    from exnihilo.core.registry import check_options, find_recipe

    if steps is None and seconds is None:
        seconds = SECONDS
        remark(f"No budget given: training for {SECONDS:g} seconds. Choose with --seconds S or --steps N.")
    recipe = find_recipe(name)
    options = check_options(recipe.options, pairs(o, "-o"), recipe.name)  # before any data are read
    data = xn.load_data(source, **pairs(d, "-d"))
    model = xn.create(name, data, seed=seed, **options)
    if out is None:
        out = Path("runs") / f"{_plain(name)}-{_plain(source)}"
        remark(f"The run is kept in {out}; choose with --out DIR.")
    run = xn.train(
        model, data, steps=steps, seconds=seconds, seed=seed, out=out, fresh=fresh, device=device, threads=threads,
        precision=precision, compile=compile, accumulate=accumulate, batch=batch, tensorboard=tensorboard,
    )  # fmt: skip
    if json:
        print_json(run.record)
    else:
        _print(run, out)
    if run.status == "stopped":
        remark("Stopped; the run is saved. The same command goes on from here.")
        raise typer.Exit(STOPPED)


def _plain(name: str) -> str:
    """A model's or a source's name as part of a folder's: `my_models.py:mine` -> `mine`, `data/iris.csv` -> `iris`."""
    return Path(name.rpartition(":")[2]).stem.replace("-", "_")


def _print(run: Run, out: Path) -> None:
    record: dict[str, Any] = run.record
    took = record.get("seconds", 0.0)
    print(f"{record['recipe']} on {record['data']['source']}: {run.status}, {took:.1f} s of training.")
    if run.status == "finished":
        samples = {"text": "samples.txt", "audio": "samples"}.get(run.model.spec.kind, "samples.png")
        print(f"Next: exnihilo sample {out} -n 64 --out {samples}, or exnihilo evaluate {out}")
