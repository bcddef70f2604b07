"""`exnihilo traverse`: what each number of the code does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from exnihilo.cli.looking import Drawn, Label, Opened, Out, Split, Start, numbers, opened
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads

if TYPE_CHECKING:
    from exnihilo.explore import Manifold, Traversal


def traverse(
    run: RunPath,
    out: Out = None,
    coordinates: Annotated[
        str | None,
        typer.Option("-k", metavar="WHICH", help="Coordinates that move: 0,3 or by name; by default the strongest."),
    ] = None,
    start: Start = None,
    plane: Annotated[bool, typer.Option("--plane", help="Move two at once: a grid over a plane of codes.")] = False,
    axes: Annotated[
        Literal["auto", "coordinates", "principal"],
        typer.Option(help="Move single coordinates, or along the directions in which codes vary most."),
    ] = "auto",
    span: Annotated[float, typer.Option(help="How far, in standard deviations of the codes, to either side.")] = 3.0,
    steps: Annotated[int | None, typer.Option(help="Places on the way; 9, of a plane 20 by 20.")] = None,
    rows: Annotated[int, typer.Option(help="Coordinates at most, where none is named.")] = 10,
    label: Label = None,
    drawn: Drawn = False,
    split: Split = "test",
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Move one coordinate of the code while the others stand still, and picture what changes, the most first.

    Begins at the mean code, at an example (--from), or at a sample where the model does not encode.

        exnihilo traverse runs/vae --out traversal.png

        exnihilo traverse runs/vae --from 3 -k 0,7 --span 2

        exnihilo traverse runs/infogan -k "continuous 0,continuous 1"

        exnihilo traverse runs/vae --plane
    """
    asked = {
        "k": coordinates,
        "from": start,
        "plane": plane,
        "axes": axes,
        "span": span,
        "steps": steps,
        "label": label,
    }
    with opened(run, data=data, d=d, split=split, seed=seed, drawn=drawn, threads=threads, label=label) as it:
        view = _view(it, asked, rows)
        it.leave(view, "traverse", run, out, asked, json)
    if json:
        return
    facts = view.facts()
    if plane:
        print(f"{facts['axes'][0]} and {facts['axes'][1]}: {facts['share_of_variance']:.0%} of the codes' variance.")
        return
    print(f"Of {facts['looked_at']} axes, the share of all change in the examples:")
    width = max(8, *(len(axis["name"]) for axis in facts["axes"]))
    for axis in facts["axes"]:
        print(f"  {axis['name']:{width}} {axis['share']:6.1%}")


def _coordinates(text: str, names: Sequence[str]) -> list[int]:
    """`0,3` or, where the numbers of a code have names, `continuous 0,category 0 = 3` -> places in the code."""
    parts = [part.strip() for part in text.split(",")]
    return numbers(",".join(str(names.index(part)) if part in names else part for part in parts), "-k")


def _view(it: Opened, asked: dict[str, Any], rows: int) -> Traversal | Manifold:
    from exnihilo.core import OptionError
    from exnihilo.explore import manifold, traverse, typical_codes

    chosen = _coordinates(asked["k"], it.model.code_names) if asked["k"] is not None else None
    first = numbers(asked["from"], "--from") if asked["from"] is not None else [0] if it.data is None else []
    if len(first) > 1:
        raise OptionError(f"--from {asked['from']} is not allowed. A traversal begins at one code, as in --from 3.")
    start = it.codes(first)[0][0] if first else None
    codes = typical_codes(it.model, it.data, seed=it.seed)
    kind = None if asked["axes"] == "auto" else asked["axes"]
    if asked["plane"]:
        return manifold(it.model, codes, start=start, coordinates=chosen, axes=kind, steps=asked["steps"] or 20)
    return traverse(
        it.model, codes, start=start, coordinates=chosen, axes=kind or "coordinates", span=asked["span"],
        steps=asked["steps"] or 9, rows=rows,
    )  # fmt: skip
