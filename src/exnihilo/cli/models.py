"""`exnihilo models`: every recipe there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exnihilo.cli.output import console, print_json
from exnihilo.cli.parameters import DataOptions, Json, OtherData, pairs

if TYPE_CHECKING:
    from exnihilo.core.registry import Recipe


def models(
    family: Annotated[str | None, typer.Option(help="Only models of this family.")] = None,
    data: OtherData = None,
    d: DataOptions = None,
    json: Json = False,
) -> None:
    """List the models: family, year, what each is, what it can do, which data it takes, its paper.

    With --data, only those that can model these data.

        exnihilo models --family gans

        exnihilo models --data table.csv
    """
    import exnihilo as xn

    kind = xn.load_data(data, **pairs(d, "-d")).spec.kind if data is not None else None
    entries = xn.list_models(family, kind)
    if json:
        return print_json([describe(entry) for entry in entries])
    _print(entries)


def describe(entry: Recipe) -> dict[str, Any]:
    """A recipe as plain values."""
    return {
        "name": entry.name,
        "family": entry.family,
        "year": entry.year,
        "summary": entry.summary,
        "capabilities": entry.capabilities,
        "kinds": entry.kinds,
        "title": entry.title,
        "authors": entry.authors,
        "arxiv": entry.arxiv,
    }


def _print(entries: list[Recipe]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "year", "what it is · what it can do · which data it takes · paper"):
        table.add_column(heading)
    family = ""
    for entry in entries:
        if entry.family != family:
            family = entry.family
            table.add_row(Text(f"\n{family}", "bold"))
        abilities = " ".join(entry.capabilities)
        paper = f"{entry.authors}" + (f", arXiv:{entry.arxiv}" if entry.arxiv else "")
        detail = Text(f"\n{abilities} · {' '.join(entry.kinds)} · {paper}", "dim")
        table.add_row(Text(entry.name, "green"), str(entry.year), Text(entry.summary) + detail)
    console().print(table)
