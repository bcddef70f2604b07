"""`exnihilo evaluate`: one run judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exnihilo.cli.looking import load_source
from exnihilo.cli.output import console, print_json
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads

if TYPE_CHECKING:
    from exnihilo.core import Findings
    from exnihilo.evaluation import Result


def evaluate(
    run: RunPath,
    data: OtherData = None,
    d: DataOptions = None,
    n: Annotated[
        int | None, typer.Option("-n", min=16, help="Samples to judge by; by default chosen by the data.")
    ] = None,
    split: Annotated[
        Literal["test", "validation", "train"], typer.Option(help="The examples to judge against.")
    ] = "test",
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge a trained model by data it has not seen; without --data, by the test split of what it was trained on.

    exnihilo evaluate runs/vae

    exnihilo evaluate runs/vae --data newer.csv -d label=species --json
    """
    import exnihilo as xn
    from exnihilo.training import RunFolder
    from exnihilo.training.hardware import use_threads

    record = RunFolder(run).record()
    model = xn.load(run)
    loaded = load_source(record, data, d)
    with use_threads(threads or record["threads"]):
        result = xn.evaluate(model, loaded, n=n, seed=seed, split=split)
    if json:
        looked = {} if result.findings is None else {"findings": result.findings._asdict()}
        return print_json(result.to_json() | looked)
    _print(result, loaded.source, split)
    if result.findings is not None:
        _print_findings(result.findings)


def _print_findings(findings: Findings) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in findings.columns:
        table.add_column(heading, justify="right")
    for line in zip(*findings.columns.values(), strict=True):
        table.add_row(*(f"{value:.3f}" for value in line))
    page = console()
    page.print(Text(f"\n{findings.title}", "bold green"))
    page.print(table)


def _print(result: Result, source: str, split: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("figure", "value", "95 % interval", "what"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    protocols: dict[str, None] = {}  # in the order of their first figure
    for name, value in result.values.items():
        interval = "" if value.low == value.high else f"{value.low:.4g} to {value.high:.4g}"
        what, _, protocol = value.protocol.partition(" | ")
        protocols[protocol] = None
        table.add_row(Text(name, "green"), f"{value.value:.4g}", interval, Text("; ".join([what, *value.notes]), "dim"))
    page = console()
    page.print(Text(f"{result.name} on {source}, {split} split", "bold green"))
    page.print(table)
    for heading, lines in (("Taken on", filter(None, protocols)), ("Mind", result.notes)):
        for line in lines:
            page.print(Text(f"{heading}  ", "bold") + Text(line))
