"""`exnihilo data`: what was understood of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exnihilo.cli.output import console, options_table, print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, SomeSource, pairs

if TYPE_CHECKING:
    from exnihilo.data import Dataset


def data(
    source: SomeSource = None,
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

        exnihilo data book.txt -d tokens=bpe -d size=2000 -d window=256

        exnihilo data recordings -d rate=8000 -d window=4096 -d levels=256

        exnihilo data load.csv -d time=date -d window=96
    """
    from exnihilo.data import data_options, describe, load_data, preview

    if source is None:
        return _list_datasets(json)
    loaded = load_data(source, **pairs(d, "-d"))
    picture = preview(loaded, out or Path("previews") / f"{Path(source).stem}.png")
    if json:
        return print_json({"preview": str(picture), **_record(loaded)})
    print("\n".join(describe(loaded)))
    options_table("What can be changed, as -d option=value", data_options(source), loaded.options)
    remark(f"\nPreview: {picture}")


def _list_datasets(json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from exnihilo.data import list_datasets

    entries = list_datasets()
    if json:
        return print_json([{"name": entry.name, "kind": entry.kind, "summary": entry.summary} for entry in entries])
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for entry in entries:
        table.add_row(Text(entry.name, "green"), entry.kind, Text(entry.summary))
    console().print(table)
    remark("\nOr name a file or a folder of your own.")


def _record(loaded: Dataset) -> dict[str, object]:
    return {
        "source": loaded.source,
        "options": loaded.options,
        "fingerprint": loaded.fingerprint,
        "splits": loaded.counts(),
        "spec": loaded.spec.to_json(),
        "notes": loaded.notes,
        "warnings": loaded.warnings,
    }
