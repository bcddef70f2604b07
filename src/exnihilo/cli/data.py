"""`exnihilo data`: what was understood of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exnihilo.cli.output import console, options_table, print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, Source, pairs

if TYPE_CHECKING:
    from exnihilo.data.dataset import Dataset

SHOWN = 64  # examples in the preview


def data(
    source: Source | None = None,
    d: DataOptions = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="The preview picture; by default previews/SOURCE.png.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what was understood of a source, what was assumed, how to change it, and what is wrong with it.

    A preview of the training examples is saved as a picture. Without a source, the embedded sets are listed.

        exnihilo data

        exnihilo data digits --out digits.png

        exnihilo data table.csv -d label=species -d drop=id
    """
    import exnihilo as xn

    if source is None:
        return _list_datasets(json)
    loaded = xn.load_data(source, **pairs(d, "-d"))
    picture = _preview(loaded, out or Path("previews") / f"{Path(source).stem}.png")
    if json:
        return print_json(_record(loaded) | {"preview": str(picture)})
    _print(loaded)
    remark(f"\npreview: {picture}")


def _list_datasets(json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    import exnihilo as xn

    entries = xn.list_datasets()
    if json:
        return print_json([{"name": entry.name, "kind": entry.kind, "summary": entry.summary} for entry in entries])
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for entry in entries:
        table.add_row(Text(entry.name, "green"), entry.kind, Text(entry.summary))
    console().print(table)
    remark("\nOr name a file or folder of your own.")


def _preview(loaded: Dataset, path: Path) -> Path:
    from exnihilo.data.render import picture, save_picture

    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(picture(loaded.spec, loaded.split("train").first(SHOWN).x), path, {"source": loaded.source})
    return path


def _record(loaded: Dataset) -> dict[str, Any]:
    return {
        "source": loaded.source,
        "options": loaded.options,
        "fingerprint": loaded.fingerprint,
        "splits": loaded.counts(),
        "spec": loaded.spec.to_json(),
        "notes": loaded.notes,
        "warnings": loaded.warnings,
    }


def _print(loaded: Dataset) -> None:
    from rich.text import Text

    from exnihilo.data import data_options

    page, spec = console(), loaded.spec
    page.print(Text(loaded.source, "bold green"))
    for name, value in facts(loaded).items():
        page.print(Text(f"{name:<10}", "bold") + Text(value))
    for heading, lines in (("Assumed", loaded.notes), ("Mind", loaded.warnings)):
        for line in lines:
            page.print(Text(f"{heading:<10}", "bold yellow") + Text(line))
    if spec.columns:
        page.print(Text("\nColumns", "bold"))
        for column in spec.columns:
            page.print(f"  {column.name:<24} {describe(column)}", markup=False)
    options_table("To change it, -d", data_options(loaded.source), loaded.options)


def facts(loaded: Dataset) -> dict[str, str]:
    """What was understood, in words."""
    spec = loaded.spec
    counts = loaded.counts()
    levels = f", {spec.levels} levels" if spec.levels else ""
    lines = {
        "kind": f"{spec.kind}, shape {' x '.join(map(str, spec.shape))}{levels}",
        "examples": f"{sum(counts.values()):,}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()),
    }
    if spec.classes:
        names = ", ".join(spec.class_names[:12]) + (" ..." if spec.classes > 12 else "")
        lines["classes"] = f"{spec.classes}: {names}"
    if spec.attributes:
        lines["attributes"] = ", ".join(f"{attribute.name} ({attribute.kind})" for attribute in spec.attributes)
    return lines


def describe(column: Any) -> str:
    """A column of a table in words."""
    if column.kind == "category":
        names = ", ".join("(missing)" if name is None else str(name) for name in column.categories[:8])
        return f"{len(column.categories)} categories: {names}" + (" ..." if len(column.categories) > 8 else "")
    step = f", in steps of {column.step:g}" if column.step else ""
    missing = ", some missing" if column.missing else ""
    return f"a number, {column.mean:.4g} on average, spread {column.scale:.4g}{step}{missing}"
