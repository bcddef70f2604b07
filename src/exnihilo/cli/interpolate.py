"""`exnihilo interpolate`: the examples between two examples."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from exnihilo.cli.looking import Drawn, Label, Out, Split, Start, Steps, numbers, opened
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads


def interpolate(
    run: RunPath,
    out: Out = None,
    start: Start = "0,1,2,3,4",
    end: Annotated[
        str, typer.Option("--to", metavar="NUMBERS", help="Where each way ends; as many numbers.")
    ] = "5,6,7,8,9",
    how: Annotated[
        Literal["auto", "linear", "spherical"],
        typer.Option(help="Straight, or on the sphere, where drawn codes lie; auto asks whether the model draws them."),
    ] = "auto",
    steps: Steps = 9,
    label: Label = None,
    drawn: Drawn = False,
    split: Split = "test",
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Walk from one code to another and picture what lies between.

    Between examples where the model encodes, else between samples: --from 3 is then sample 3 of the seed.

        exnihilo interpolate runs/vae --from 3 --to 17 --out between.png

        exnihilo interpolate runs/dcgan --from 0,1,2 --to 7,8,9 --seed 4
    """
    from exnihilo.explore import interpolate

    first, last = numbers(start or "", "--from"), numbers(end, "--to")
    asked = {"from": first, "to": last, "how": how, "steps": steps, "label": label}
    with opened(run, data=data, d=d, split=split, seed=seed, drawn=drawn, threads=threads, label=label) as it:
        _same_number(first, last)
        (a, one), (b, other) = it.codes(first), it.codes(last)
        ends = None if one is None or other is None else (one, other)
        names = tuple(f"{i} to {j}" for i, j in zip(first, last, strict=True))
        view = interpolate(it.model, a, b, how=how, steps=steps, ends=ends, names=names)
        it.leave(view, "interpolate", run, out, asked, json)
    if json:
        return
    facts = view.facts()
    print(f"{facts['how']} in {steps} places; evenness 1 = equal steps, 0 = one jump:")
    for pair in facts["pairs"]:
        print(f"  {pair['name']:12} {pair['evenness']:.2f}")


def _same_number(first: list[int], last: list[int]) -> None:
    from exnihilo.core import OptionError

    if len(first) != len(last):
        raise OptionError(
            f"--from names {len(first)} and --to {len(last)}: give as many of each, as in --from 3,4 --to 17,18."
        )
