"""`exnihilo arithmetic`: adding and taking off what codes have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from exnihilo.cli.looking import Drawn, Out, Split, Steps, opened
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads


def arithmetic(
    run: RunPath,
    formula: Annotated[
        str,
        typer.Argument(metavar="FORMULA", help="Groups with + and - between: class=NAME, FACT=VALUE, or numbers 4,17."),
    ],
    out: Out = None,
    steps: Steps = 8,
    reach: Annotated[float, typer.Option(help="How far to go; the formula's result is at 1.")] = 1.0,
    drawn: Drawn = False,
    split: Split = "test",
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Add and subtract mean codes of classes, of facts, or of a few chosen examples, and picture the result.

    Where the model does not encode, numbers are samples of the seed, as `exnihilo sample` draws them.

        exnihilo arithmetic runs/vae "class=3 - class=5 + class=6" --out result.png

        exnihilo arithmetic runs/dcgan "0,8,21 - 3,5,9 + 1,2,30" --seed 0
    """
    from exnihilo.explore import arithmetic, read_formula

    asked = {"formula": formula, "steps": steps, "reach": reach}
    with opened(run, data=data, d=d, split=split, seed=seed, drawn=drawn, threads=threads) as it:
        groups = read_formula(it.model, formula, it.data, split=split, seed=seed, drawn=it.data is None)
        view = arithmetic(it.model, groups, steps=steps, reach=reach)
        it.leave(view, "arithmetic", run, out, asked, json)
    if json:
        return
    for group in view.facts()["groups"]:
        print(f"  {group['sign']} {group['name']}: the mean of {group['n']} code{'s' * (group['n'] > 1)}")
