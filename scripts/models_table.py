"""Write the table of models in README.md from the registry: `make docs-table`, or `--check` to see if it is current."""

from __future__ import annotations

import sys
from pathlib import Path

import exnihilo.models  # noqa: F401  registers every recipe
from exnihilo.core import list_models
from exnihilo.core.registry import Recipe

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models: begin, written by scripts/models_table.py -->", "<!-- models: end -->"


def table() -> str:
    """Markdown: one row a recipe, by family and year."""
    rows = [
        "| model | family | year | what it is | it can | data | paper |",
        "|---|---|--:|---|---|---|---|",
    ]
    return "\n".join(rows + [row(entry) for entry in list_models() if entry.family != "own"])


def row(entry: Recipe) -> str:
    """One line of the table."""
    paper = f"[{entry.authors}](https://arxiv.org/abs/{entry.arxiv})" if entry.arxiv else entry.authors
    abilities = ", ".join(f"`{name}`" for name in entry.capabilities)
    cells = (
        f"`{entry.name}`", entry.family, str(entry.year), entry.summary, abilities, ", ".join(entry.kinds), paper,
    )  # fmt: skip
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def with_table(text: str) -> str:
    """A page with the table between its markers replaced."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{README} has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Rewrite the page, or with --check say whether that would change it."""
    text = README.read_text()
    current = with_table(text)
    if "--check" not in sys.argv[1:]:
        README.write_text(current)
    elif text != current:
        raise SystemExit("The table of models in README.md is not current: make docs-table")


if __name__ == "__main__":
    main()
