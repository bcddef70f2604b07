"""`exnihilo show`: one model in full."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from exnihilo.cli.models import describe
from exnihilo.cli.output import console, print_json
from exnihilo.cli.parameters import Json, Name

if TYPE_CHECKING:
    from exnihilo.core.registry import Option, Recipe


def show(name: Name, json: Json = False) -> None:
    """Explain one model: its equation, its options with defaults, what it can do, its paper.

        exnihilo show vae

        exnihilo show my_models.py:my_recipe
    """
    import exnihilo.models
    from exnihilo.core import find_recipe

    assert exnihilo.models
    entry = find_recipe(name)
    if json:
        return print_json(_record(entry))
    _print(entry)


def _record(entry: Recipe) -> dict[str, Any]:
    return describe(entry) | {
        "equation": inspect.getdoc(entry.model),
        "options": {name: _values(option) for name, option in entry.options.items()},
        "sampling": {name: _values(option) for name, option in entry.sampling.items()},
    }


def _values(option: Option) -> dict[str, Any]:
    values = {"type": option.type.__name__, "default": option.default, "low": option.low, "high": option.high}
    return values | {"choices": option.choices, "optional": option.optional}


def _print(entry: Recipe) -> None:
    from rich.padding import Padding
    from rich.text import Text

    page = console()
    page.print(Text(entry.name, "bold green") + Text(f"  {entry.family}, {entry.year}", "dim"))
    page.print(inspect.getdoc(entry.build) or "", markup=False)
    page.print(Text("\nThe equation of its family", "bold"))
    page.print(Padding(Text(inspect.getdoc(entry.model) or ""), (0, 0, 0, 2)))
    _print_options("Options, -o of `exnihilo train`", entry.options)
    _print_options("Sampling options, -o of `exnihilo sample`", entry.sampling)
    page.print(Text("\nIt can ", "bold") + Text(", ".join(entry.capabilities)))
    page.print(Text("It models ", "bold") + Text(", ".join(entry.kinds)))
    page.print(Text("Paper ", "bold") + Text(paper(entry)))


def paper(entry: Recipe) -> str:
    """Title, authors, number."""
    return f"{entry.title}. {entry.authors}" + (f". arXiv:{entry.arxiv}" if entry.arxiv else "")


def _print_options(heading: str, options: dict[str, Option]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not options:
        return
    table = Table(box=None, padding=(0, 2), show_header=False)
    for option in options.values():
        default = "none" if option.default is None else str(option.default).lower() if option.type is bool else option.default
        table.add_row(Text(option.name, "green"), Text(str(default)), Text(option.allowed, "dim"))
    page = console()
    page.print(Text(f"\n{heading}", "bold"))
    page.print(table)
