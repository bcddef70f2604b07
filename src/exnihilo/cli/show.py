"""`exnihilo show`: one model in full."""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any

from exnihilo.cli.models import describe
from exnihilo.cli.output import console, options_table, print_json
from exnihilo.cli.parameters import Json, Name

if TYPE_CHECKING:
    from exnihilo.core.registry import Option, Recipe


def show(name: Name, json: Json = False) -> None:
    """Explain one model: its equation, its options with defaults, what it can do, its paper.

    exnihilo show vae

    exnihilo show my_models.py:my_recipe
    """
    import exnihilo.models  # noqa: F401  registers every recipe
    from exnihilo.core import find_recipe

    entry = find_recipe(name)
    if json:
        return print_json(_record(entry))
    _print(entry)


def _record(entry: Recipe) -> dict[str, Any]:
    return describe(entry) | {
        "equation": equation(entry),
        "options": {name: _values(option) for name, option in entry.options.items()},
        "sampling": {name: _values(option) for name, option in entry.sampling.items()},
        "table": entry.table,
    }


def _values(option: Option) -> dict[str, Any]:
    values = {"type": option.type.__name__, "default": option.default, "low": option.low, "high": option.high}
    return values | {"choices": option.choices, "optional": option.optional}


def _print(entry: Recipe) -> None:
    from rich.text import Text

    page = console()
    page.print(Text(entry.name, "bold green") + Text(f"  {entry.family}, {entry.year}", "dim"))
    page.print(inspect.getdoc(entry.build) or "", markup=False)
    page.print(Text("\nThe equation of its family", "bold"))
    page.print(textwrap.indent(equation(entry), "  "), markup=False)
    options_table("Options, -o of `exnihilo train`", entry.options)
    options_table("Sampling options, -o of `exnihilo sample`", entry.sampling)
    if entry.table:
        page.print(Text(f"\n{entry.table}"), soft_wrap=True)
    page.print(Text("\nIt can ", "bold") + Text(", ".join(entry.capabilities)))
    page.print(Text("It models ", "bold") + Text(", ".join(entry.kinds)))
    page.print(Text("Paper ", "bold") + Text(paper(entry)))


def equation(entry: Recipe) -> str:
    """What the model's class says of itself, after what its family says."""
    from exnihilo.core import GenerativeModel

    classes = [
        kind for kind in entry.model.__mro__ if issubclass(kind, GenerativeModel) and kind is not GenerativeModel
    ]
    return "\n\n".join(inspect.cleandoc(kind.__doc__) for kind in reversed(classes) if kind.__doc__)


def paper(entry: Recipe) -> str:
    """Title, authors, number."""
    return f"{entry.title}. {entry.authors}" + (f". arXiv:{entry.arxiv}" if entry.arxiv else "")
