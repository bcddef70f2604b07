"""`exnihilo attack`: how far noise that hardly shows turns a classifier's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads

Labelled = Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Labelled data; by default those of the run.")]
Eps = Annotated[
    float,
    typer.Option(
        help="The largest change of an entry: of pictures in shares of the range from black to white, else in standard"
        " deviations of a column."
    ),
]
Way = Annotated[
    Literal["fgsm", "iterative", "universal"],
    typer.Option(help="One step along the gradient's sign, several, or one noise for all examples."),
]
Target = Annotated[str | None, typer.Option(metavar="CLASS", help="Aim at this answer, instead of any wrong one.")]
AttackSteps = Annotated[int, typer.Option(help="Of the iterative attack; five times as many for one noise.")]
ClassifierSteps = Annotated[
    int, typer.Option(min=1, help="Updates that train a classifier on the encoder of a model that is none itself.")
]
Picture = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="The picture; by default previews/attack-RUN.png.")
]


def attack(
    run: RunPath,
    source: Labelled = None,
    eps: Eps = 0.1,
    method: Way = "fgsm",
    target: Target = None,
    steps: AttackSteps = 20,
    classifier_steps: ClassifierSteps = 500,
    out: Picture = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Attack a classifier with small noise: accuracy before and after, beside random noise of the same size.

    A model that classifies (m2, db_vae) is attacked itself; of one that encodes, a network that begins as its encoder.

        exnihilo attack runs/m2 --eps 0.1

        exnihilo attack runs/vae --method iterative --target 3 --out attacked.png
    """
    from exnihilo.tasks import attack, attackable
    from exnihilo.tasks.attack import check_picture

    with trained(run, threads) as (model, record):
        shown = model.spec.kind == "image" or model.spec.shape == (2,)
        if shown or out is not None:
            out = out or Path("previews") / f"attack-{run.resolve().name}.png"
            check_picture(model.spec, out)  # before the work
        data = load_source(record, source, d)
        classifier = attackable(model, data, steps=classifier_steps, seed=seed)
        attacked = attack(classifier, data, eps=eps, method=method, target=target, steps=steps, seed=seed)
    if classifier is not model:
        attacked.judged.notes.append(
            f"{model.recipe} is no classifier: attacked is its encoder with a linear layer, trained for"
            f" {classifier_steps} updates on all labels"
        )
    path = None if out is None else attacked.save(out)
    if json:
        return print_json({"picture": path and str(path), **attacked.judged.to_json()})
    print_judged(attacked.judged)
    if path is not None:
        remark(f"Picture: {path}")
