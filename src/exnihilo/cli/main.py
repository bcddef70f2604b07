"""The command `exnihilo`: one verb a file. A command parses, calls one function of the library, prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from exnihilo.cli import (
    arithmetic,
    attack,
    balance,
    compare,
    compress,
    data,
    detect,
    edit,
    evaluate,
    exchange,
    forecast,
    impute,
    interpolate,
    models,
    project,
    represent,
    restore,
    sample,
    show,
    train,
    traverse,
)

MISTAKE, STOPPED = 2, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from exnihilo import __version__

        print(f"exnihilo {__version__}")
        raise typer.Exit


@app.callback(epilog="Exit codes: 0 done; 2 a mistake in what was asked, told on standard error; 1 a bug; 130 stopped.")
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Deep generative models on your own data: train, compare, judge and use them.

    The main job is one command. It trains a line-up of models on your data under an equal budget and writes a report
    that says how good, how diverse and how fast each of them is:

        exnihilo compare --data digits --out reports/digits

        exnihilo compare --data pictures/ -d size=32 --seconds 600 --out reports/mine

    Step by step:

        exnihilo data table.csv -d label=species

        exnihilo train vae table.csv -d label=species --seconds 60 --out runs/vae

        exnihilo sample runs/vae -n 100 --out samples.csv
    """


for verb in (
    compare.compare, data.data, train.train, sample.sample, evaluate.evaluate, traverse.traverse,
    interpolate.interpolate, arithmetic.arithmetic, project.project, impute.impute, restore.restore, edit.edit,
    forecast.forecast, detect.detect, attack.attack, represent.represent, balance.balance, compress.compress,
    compress.decompress, exchange.export, exchange.import_, models.models, show.show,
):  # fmt: skip
    app.command(verb.__name__.rstrip("_"))(verb)  # `import_`, for Python has that word


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user's mistake, 130 stopped by the user; a bug is a traceback and 1."""
    try:
        app(arguments, prog_name="exnihilo")
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception as error:
        if not _is_mistake(error):
            raise
        print(f"exnihilo: {error}", file=sys.stderr)
        sys.exit(MISTAKE)


def _is_mistake(error: Exception) -> bool:
    from exnihilo.core import ExnihiloError  # late, so that --help needs no torch

    return isinstance(error, ExnihiloError)
