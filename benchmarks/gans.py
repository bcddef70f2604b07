"""Figures of adversarial networks: modes of toys, digits, conditions, anomalies, and what the engine costs.

    EXNIHILO_DATA=DATA python benchmarks/gans.py                   # everything; hours
    python benchmarks/gans.py --only toys --seeds 0 1 2            # a part; the others keep their figures
    python benchmarks/gans.py --only digits --names gan wgan_gp    # models of a part; the others keep theirs
    python benchmarks/gans.py --only toys --seconds 3 --out try

Writes benchmarks/results/gans.json and .md. Each model trains in a process of its own with one thread, for the seconds
(of the processor) of its part or --seconds. Recipes are those of the registry. Parts run one by one: what is measured
again replaces what was measured before, by model, source and seed.
Detection reads ADBench's classical sets from $EXNIHILO_DATA/adbench, and says so where they are not.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import Figures, Job, Part, main, shared_data, trained
from speed import seconds as seconds_of
from torch.nn.functional import softplus

import exnihilo as xn
from exnihilo import tasks
from exnihilo.core import ExnihiloError, list_models
from exnihilo.evaluation import Reference
from exnihilo.evaluation.modes import conditional_accuracy, mode_values
from exnihilo.training import Budget, Trainer

DRAWN = 2500  # samples of a toy
TOYS = {"ring8": 0.05, "grid25": 0.1}  # deviation of a mode: the narrow defaults take minutes a model
TURN = 0.5  # seconds of one side


# -- models that learn, and the figures of one of them ---------------------------------------------------------------


def recipes(source: str, labelled: bool | None = False) -> list[str]:
    """Adversarial recipes that model a source: unconditional ones, conditional ones, or (None) all."""
    data = xn.load_data(source)
    names = []
    for entry in list_models("gans", data.spec.kind):
        try:
            model = xn.create(entry.name, data)
        except ExnihiloError as error:
            print(f"{entry.name} is left out: {error}", file=sys.stderr)
            continue
        if labelled is None or model.labelled == labelled:
            names.append(entry.name)
    return names


def toy(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = xn.load_data(source, noise=TOYS[source])
    samples = trained(name, data, seconds, seed).sample(DRAWN, seed=seed)
    return {key: value.value for key, value in mode_values(samples, data, "").items()}


def judged(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = xn.load_data(source)
    result = xn.evaluate(trained(name, data, seconds, seed), data, seed=seed)
    shown = ("ratio", "precision", "recall", "coverage", "distance_ratio", "confident", "conditional_accuracy")
    return {key: value.value for key in shown if (value := result.get(key))}


def obeyed(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Conditional accuracy, or, of a model that clusters, how well its clusters match the classes."""
    data = xn.load_data(source)
    model = trained(name, data, seconds, seed)
    values = conditional_accuracy(model, Reference.of(data, seed=seed))
    if values:
        return {key: value.value for key, value in values.items()}
    test = data.split("test").first()
    with torch.no_grad():
        return {"agreement": agreement(model.clusters(test.x).argmax(dim=1).numpy(), test.label.numpy())}


def agreement(code: np.ndarray, label: np.ndarray) -> float:
    """The share of examples whose code stands for their class, under the best one-to-one matching."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((code.max() + 1, label.max() + 1))
    np.add.at(counts, (code, label), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(code))


def adbench() -> Path:
    """Where the anomaly sets lie."""
    return shared_data("adbench")


def found(name: str, source: str, seconds: float, seed: int) -> Figures:
    """AUROC and average precision of a model trained on normal rows only, beside the baselines on the same rows.

    name: a recipe, RECIPE/SCORE for another score than its first, or `reference`: what the catalogue's table says.
    """
    if name == "reference":
        return {f"reference {row}: AUROC": value for row, value in catalogued(source)}
    file = np.load(adbench() / f"{source}.npz")
    data = xn.load_data((file["X"].astype(np.float32), np.where(file["y"] > 0, "anomaly", "normal")))
    recipe, _, score = name.partition("/")
    model = trained(recipe, tasks.without_classes(data, "anomaly"), seconds, seed)
    detected = tasks.detect(model, data, anomalous="anomaly", score=score or None, limit=1000, seed=seed)
    assert detected.judged is not None
    figures: Figures = {}
    for place, (row, values) in enumerate(detected.judged.rows.items()):
        prefix = f"{row}: " if place else ""
        figures |= {prefix + key: values[key].value for key in ("AUROC", "average precision")}
    return figures


def catalogued(source: str) -> Iterator[tuple[str, float]]:
    """Detectors of scikit-learn on a set, as reference_auroc_sklearn.csv has them (other splits, seeds averaged)."""
    for line in (adbench() / "reference_auroc_sklearn.csv").read_text().splitlines()[1:]:
        name, _, _, _, protocol, *values = line.split(",")
        if (name, protocol) == (source, "normal_only"):
            rows = ("IForest", "PCArec90", "KNN5", "LOF20", "Mahalanobis")
            yield from zip(rows, map(float, values), strict=True)


def sets() -> list[str]:
    names = sorted(path.stem for path in adbench().glob("*.npz"))
    if not names:
        print(f"no anomaly sets in {adbench()}: set EXNIHILO_DATA", file=sys.stderr)
    return names


DETECTORS = ("kde", "gmm", "vae", "vae/reconstruction", "realnvp", "anogan", "ali/reconstruction", "wgan_gp/projection")
SIX = ("dcgan", "wgan_gp", "sngan", "ragan", "began", "acgan")


# -- figures without a trained model ---------------------------------------------------------------------------------


def lines(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Lines of code of every recipe's function, and their median."""
    figures = {f"{entry.name}: lines": float(length(entry.build)) for entry in list_models("gans")}
    return {"lines": statistics.median(figures.values()), **figures}


def length(function: Callable[..., Any]) -> int:
    """Lines of a function, signature included, decorator and docstring left out."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    assert isinstance(tree, ast.FunctionDef)
    about = tree.body[0].end_lineno - tree.body[0].lineno + 1 if ast.get_docstring(tree) else 0
    return tree.end_lineno - tree.lineno + 1 - about


def plain_round(model: Any, x: torch.Tensor) -> Callable[[], None]:
    """A round as one would write it by hand: fresh fakes for each update, no averages, no figures."""
    generator, critic = model.train().generator, model.critic
    optimizers = [
        torch.optim.Adam(module.parameters(), 1e-3, betas=(0.0, 0.99), fused=True) for module in (critic, generator)
    ]

    def batches() -> Iterator[torch.Tensor]:
        while True:
            for chosen in torch.randperm(len(x)).split(model.batch):
                if len(chosen) == model.batch:
                    yield x[chosen]

    stream, size = batches(), model.latent.size

    def play() -> None:
        critic.requires_grad_(True)
        with torch.no_grad():
            fake = generator(torch.randn(model.batch, size))
        loss = softplus(-critic(next(stream))).mean() + softplus(critic(fake)).mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        critic.requires_grad_(False)
        loss = softplus(-critic(generator(torch.randn(model.batch, size)))).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()

    return play


def speed(name: str, source: str, seconds: float, seed: int) -> Figures:
    """A round by the engine and one by hand, in turns in this process: the plain loop's time over ours, the median."""
    data = xn.load_data(source)
    trainer = Trainer(xn.create(name, data, penalty=0.0, seed=seed), data, Budget(steps=25_000), seed=seed)
    (stage,) = trainer.stages
    trainer.enter(stage)

    def ours() -> None:
        trainer.play_round(stage)
        if trainer.at_mark():
            trainer.mark()

    plain = plain_round(xn.create(name, data, penalty=0.0, seed=seed), data.split("train").first().x)
    seconds_of(ours, 10)
    calls = max(1, round(TURN / seconds_of(plain, 10)))
    pairs = []
    for turn in range(round(seconds / (2 * TURN))):
        sides = (ours, plain) if turn % 2 == 0 else (plain, ours)
        times = {side: seconds_of(side, calls) for side in sides}
        pairs.append((times[ours], times[plain]))
    ratios = [theirs / mine for mine, theirs in pairs]
    return {
        "speed": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "ours ms": 1000 * statistics.median(mine for mine, _ in pairs),
        "plain ms": 1000 * statistics.median(theirs for _, theirs in pairs),
    }


# -- the parts -------------------------------------------------------------------------------------------------------


def on(source: str, names: Sequence[str]) -> list[Job]:
    return [Job(name, source) for name in names]


PARTS: dict[str, Part] = {
    "toys": Part(
        "Modes covered (20 of 2500 samples within three deviations) and the share of samples within three deviations of"
        " a mode (0.989: perfect), every unconditional recipe. Deviations of a mode: 0.05 on ring8 (radius 1), 0.1 on"
        " grid25 (centres 2 apart).",
        lambda: [
            Job(name, source, longer=longer)
            for source, longer in (("ring8", 1.0), ("grid25", 2.5))
            for name in recipes(source)
        ],
        toy,
        seconds=8.0,
    ),
    "digits": Part(
        "8 x 8 digits. ratio: Frechet distance of samples to the test split over that of the training split (1 = as"
        " good as real data); distance_ratio well below 1 = copying.",
        lambda: on("digits", recipes("digits", None)),
        judged,
        seconds=30.0,
    ),
    "mnist5k": Part("28 x 28 digits, a chosen six; as digits.", lambda: on("mnist5k", SIX), judged, seconds=120.0),
    "conditional": Part(
        "Digits: the share of samples that the classifier names as asked; of infogan, the share of test examples whose"
        " categorical code stands for their class, under the best one-to-one matching.",
        lambda: on("digits", [name for name in (*recipes("digits", True), "infogan") if name != "cogan"]),
        obeyed,
        seconds=30.0,
    ),
    "detection": Part(
        "ADBench, trained on normal rows only (72 % of them), anomalies against the normal rows of the test split, at"
        " most 1000 of each. Baselines by scikit-learn on the same rows; `reference` rows are those of"
        " reference_auroc_sklearn.csv (other splits, seeds averaged, normal_only).",
        lambda: [job for source in sets() for job in on(source, ("reference", *DETECTORS))],
        found,
        seconds=6.0,
    ),
    "lines": Part(
        "Lines of code of every recipe's function, signature included, decorator and docstring left out.",
        lambda: [Job("median", reach="lines <= 20")],
        lines,
    ),
    "speed": Part(
        "A round of dcgan (penalty=0) by the engine - averages, terms, marks and all - against a plain loop with the"
        " same networks and fused Adam, in processor time: one process, one thread, turns of about half a second, the"
        " side that begins changing. speed: the plain loop's time over ours, turn by turn, the median.",
        lambda: [Job("dcgan", source, reach="speed >= 0.95") for source in ("mnist5k", "digits")],
        speed,
        seconds=15.0,
    ),
}


if __name__ == "__main__":
    main(__file__, __doc__, "Figures of adversarial networks", PARTS)
