"""`exnihilo impute`: the gaps of a table filled, or how well a model fills gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads, pairs


def impute(
    run: RunPath,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="With --out, the .csv, .tsv or .parquet file whose gaps are filled. Without, the data to judge by; by"
            " default those of the run.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the filled table goes: .csv, .tsv or .parquet.")
    ] = None,
    n: Annotated[
        int, typer.Option("-n", help="Draws for every gap. A best guess is taken of them; -n 1 is one random answer.")
    ] = 20,
    fraction: Annotated[float, typer.Option(help="To judge: the share of the values that is hidden.")] = 0.5,
    mechanism: Annotated[
        Literal["random", "block"], typer.Option(help="To judge: values on their own, or a run or rectangle of them.")
    ] = "random",
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Fill the gaps of a table with a trained model, or, without --out, say how well it would.

    Everything that is in the table stays: its values, columns and rows. A model that was trained on rows without gaps
    can fill those of others. Judged, it stands beside the mean, near rows and one Gaussian.

        exnihilo impute runs/miwae patients.csv --out filled.csv

        exnihilo impute runs/miwae --fraction 0.3
    """
    if out is None:
        return _judge(run, source, fraction, mechanism, n, d, seed, threads, json)
    from exnihilo.core import OptionError
    from exnihilo.data.rows import read_frame
    from exnihilo.tasks.tables import fill_table, table_suffix

    if source is None:
        raise OptionError(f"Name the table to fill: exnihilo impute {run} SOURCE --out {out}")
    table_suffix(out)  # before the work
    with trained(run, threads) as (model, record):
        filled = fill_table(model, read_frame(source, **(_reading(record) | pairs(d, "-d"))), n=n, seed=seed)
    path = filled.save(out)
    if json:
        return print_json({"file": str(path), "filled": filled.cells, "how": filled.how, "notes": filled.notes})
    for note in filled.notes:
        remark(note)
    named = ", ".join(f"{name} {count}" for name, count in filled.cells.items())
    print(f"{sum(filled.cells.values())} gaps filled by {model.recipe}{f' ({named})' if named else ''}: {path}")


def _judge(
    run: Path,
    source: str | None,
    fraction: float,
    mechanism: Literal["random", "block"],
    n: int,
    d: list[str] | None,
    seed: int,
    threads: int | None,
    json: bool,
) -> None:
    from exnihilo.cli.looking import load_source
    from exnihilo.tasks import impute

    with trained(run, threads) as (model, record):
        data = load_source(record, source, d)
        judged = impute(model, data, fraction=fraction, mechanism=mechanism, n=n, seed=seed)
    print_json(judged.to_json()) if json else print_judged(judged)


def _reading(record: dict[str, Any]) -> dict[str, object]:
    """How the training table was read, as far as it may hold for another file."""
    options = record["data"]["options"]
    return {name: options[name] for name in ("separator", "decimal", "header", "skip") if name in options}
