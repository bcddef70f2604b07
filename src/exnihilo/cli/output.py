"""How the verbs print: results on standard output, remarks on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

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
