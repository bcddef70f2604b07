"""How the verbs for tasks open a run and print their figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exnihilo.cli.output import console

if TYPE_CHECKING:
    from exnihilo.core import GenerativeModel
    from exnihilo.tasks import Judged


@contextmanager
def trained(run: Path, threads: int | None) -> Iterator[tuple[GenerativeModel, dict[str, Any]]]:
    """A model and its record, to be used with its number of threads."""
    import exnihilo as xn
    from exnihilo.training import RunFolder
    from exnihilo.training.hardware import use_threads

    record = RunFolder(run).record()
    model = xn.load(run)
    with use_threads(threads or record["threads"]):
        yield model, record


def print_judged(judged: Judged) -> None:
    """A table with the model's row above the baselines', intervals in brackets, and what to know below."""
    from rich.table import Table
    from rich.text import Text

    columns = list(dict.fromkeys(key for row in judged.rows.values() for key in row))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    abouts: dict[str, None] = {}  # in the order of their first figure
    protocols: dict[str, None] = {}
    for name, row in judged.rows.items():
        cells = []
        for column in columns:
            value = row.get(column)
            if value is None:
                cells.append(Text(""))
                continue
            about, _, protocol = value.protocol.partition(" | ")
            abouts[f"{column}: {about}"] = None
            protocols[protocol] = None
            interval = "" if value.low == value.high else f" [{value.low:.3f}, {value.high:.3f}]"
            cells.append(Text(f"{value.value:.3f}") + Text(interval, "dim"))
        table.add_row(Text(name, "green"), *cells)
    page = console()
    page.print(Text(judged.title, "bold green"))
    page.print(table)
    for heading, lines in (("Taken as", abouts), ("Taken on", filter(None, protocols)), ("Mind", judged.notes)):
        for line in lines:
            page.print(Text(f"{heading}  ", "bold") + Text(line))
