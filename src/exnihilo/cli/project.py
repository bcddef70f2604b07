"""`exnihilo project`: a map of the codes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from exnihilo.cli.looking import Out, Split, opened
from exnihilo.cli.parameters import DataOptions, Json, OtherData, RunPath, Seed, Threads


def project(
    run: RunPath,
    out: Out = None,
    method: Annotated[
        Literal["auto", "pca", "tsne"], typer.Option(help="auto: codes of two numbers as they are, others by t-SNE.")
    ] = "auto",
    n: Annotated[int, typer.Option("-n", help="Examples at most.")] = 1000,
    split: Split = "test",
    data: OtherData = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Map the codes of examples to a plane, coloured by class, beside a map of the raw data made in the same way.

    Trustworthiness says how many neighbours on a map were neighbours before: 1 = all, 0.5 = chance.

        exnihilo project runs/vae --out map.png

        exnihilo project runs/autoencoder --method pca --split train
    """
    from exnihilo.explore import project
    from exnihilo.explore.project import NEIGHBOURS

    asked = {"method": method, "n": n, "split": split}
    with opened(run, data=data, d=d, split=split, seed=seed, drawn=False, threads=threads) as it:
        it.model.require("encode")
        assert it.data is not None
        view = project(it.model, it.data, method=method, split=split, n=n, seed=seed)
        it.leave(view, "project", run, out, asked, json)
    if json:
        return
    print(f"Trustworthiness on {NEIGHBOURS} neighbours of {len(view.points)} examples of the {split} split:")
    print(f"  {view.trustworthiness:.3f}  the map of the codes, of the codes")
    print(f"  {view.raw_trustworthiness:.3f}  the same map of the raw data, of the raw data")
    print(f"  {view.code_trustworthiness:.3f}  the codes themselves, of the raw data")
