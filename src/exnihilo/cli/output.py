"""How the verbs print: results on standard output, remarks on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from exnihilo.core.registry import Option

PIPED_WIDTH = 120  # where the output is no terminal


def console() -> Console:
    """Standard output as it is now, with a fixed width where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def remark(text: str) -> None:
    """Say something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """The result for a program to read."""
    print(json.dumps(value, indent=1, default=str, allow_nan=False))


def options_table(heading: str, options: Mapping[str, Option], values: Mapping[str, Any] | None = None) -> None:
    """Options with their values (or defaults) and what they take; nothing if there are none."""
    from rich.table import Table
    from rich.text import Text

    if not options:
        return
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, option in options.items():
        value = (values or {}).get(name, option.default)
        table.add_row(Text(name, "green"), Text("" if value == "" else str(value)), Text(option.allowed, "dim"))
    console().print(Text(f"\n{heading}", "bold"))
    console().print(table)
