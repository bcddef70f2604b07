"""Figures of adversarial networks: modes of toys, digits, conditions, anomalies, and what the engine costs.

    python benchmarks/gans.py                                      # everything; hours, see --seconds and --seeds
    python benchmarks/gans.py --only speed lines                   # some parts; the others keep their figures
    python benchmarks/gans.py --only toys --seconds 20 --seeds 0 --names gan wgan_gp --out try
    EXNIHILO_DATA=DATA python benchmarks/gans.py --only detection

Writes benchmarks/results/gans.json and .md. `--seconds` is the training time of one model in seconds of its processor,
the same for all, so that other work on the machine changes nothing. Recipes are those of the registry; each model
trains in a process of its own with one thread, `--jobs` of them side by side.
Detection reads ADBench's classical sets from $EXNIHILO_DATA/adbench, and says so where they are not.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import inspect
import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import trained
from speed import processor, seconds
from torch.nn.functional import softplus

import exnihilo as xn
from exnihilo import tasks
from exnihilo.core import ExnihiloError, list_models
from exnihilo.evaluation import Reference
from exnihilo.evaluation.modes import conditional_accuracy, mode_values
from exnihilo.training import Budget, Trainer

RESULTS = Path(__file__).parent / "results"
DRAWN = 2500  # samples of a toy
TOYS = {"ring8": 0.05, "grid25": 0.1}  # deviation of a mode: the narrow defaults take minutes a model
ROUNDED = 0.95  # of a plain loop's speed that a round has to reach
LONGEST = 20  # lines of a recipe, in the median

Row = dict[str, Any]
Figures = dict[str, float]


# -- parts that train: which models on which data, and the figures of one of them ------------------------------------


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
    return Path(os.environ.get("EXNIHILO_DATA", "data")) / "adbench"


def found(name: str, source: str, seconds: float, seed: int) -> Figures:
    """AUROC and average precision of a model trained on normal rows only, beside the baselines on the same rows.

    name: a recipe, or RECIPE/SCORE for another score than its first.
    """
    file = np.load(adbench() / f"{source}.npz")
    data = xn.load_data((file["X"].astype(np.float32), np.where(file["y"] > 0, "anomaly", "normal")))
    recipe, _, score = name.partition("/")
    model = trained(recipe, tasks.without_classes(data, "anomaly"), seconds, seed)
    detected = tasks.detect(model, data, anomalous="anomaly", score=score or None, limit=1000, seed=seed)
    assert detected.judged is not None
    figures: Figures = {}
    for place, (row, values) in enumerate(detected.judged.rows.items()):
        prefix = "" if place == 0 else f"{row}: "
        figures |= {prefix + key: values[key].value for key in ("AUROC", "average precision")}
    return figures


def sets() -> list[str]:
    names = sorted(path.stem for path in adbench().glob("*.npz"))
    if not names:
        print(f"no anomaly sets in {adbench()}: set EXNIHILO_DATA", file=sys.stderr)
    return names


DETECTORS = ("kde", "gmm", "vae", "vae/reconstruction", "realnvp", "anogan", "ali/reconstruction", "wgan_gp/projection")
SIX = ("dcgan", "wgan_gp", "sngan", "ragan", "began", "acgan")


@dataclass(frozen=True)
class Part:
    """Models on sources, and what is measured of each."""

    about: str
    work: Callable[[], list[tuple[str, str]]]  # (model, source)
    measure: Callable[[str, str, float, int], Figures]


TRAINING: dict[str, Part] = {
    "toys": Part(
        "Modes covered (20 of 2500 samples within three deviations) and the share of samples within three deviations of"
        " a mode (0.989: perfect), every unconditional recipe. Deviations of a mode: 0.05 on ring8 (radius 1), 0.1 on"
        " grid25 (centres 2 apart).",
        lambda: [(name, source) for source in TOYS for name in recipes(source)],
        toy,
    ),
    "digits": Part(
        "8 x 8 digits. ratio: Frechet distance of samples to the test split over that of the training split (1 = as"
        " good as real data); distance_ratio well below 1 = copying.",
        lambda: [(name, "digits") for name in recipes("digits", None)],
        judged,
    ),
    "mnist5k": Part("28 x 28 digits, a chosen six; as digits.", lambda: [(name, "mnist5k") for name in SIX], judged),
    "conditional": Part(
        "Digits: the share of samples that the classifier names as asked; of infogan, the share of test examples whose"
        " categorical code stands for their class, under the best one-to-one matching.",
        lambda: [(name, "digits") for name in [*recipes("digits", True), "infogan"] if name != "cogan"],
        obeyed,
    ),
    "detection": Part(
        "ADBench, trained on normal rows only (72 % of them), anomalies against the normal rows of the test split, at"
        " most 1000 of each. Baselines by scikit-learn on the same rows; `reference` rows are those of"
        " reference_auroc_sklearn.csv (other splits, seeds averaged, normal_only).",
        lambda: [(name, source) for source in sets() for name in DETECTORS],
        found,
    ),
}


def measure(part: str, name: str, source: str, budget: float, seed: int) -> Row:
    """One model in this process."""
    start = time.perf_counter()
    figures = TRAINING[part].measure(name, source, budget, seed)
    return {"name": name, "source": source, "seed": seed, "figures": figures, "took": time.perf_counter() - start}


def in_process(part: str, name: str, source: str, budget: float, seed: int) -> Row:
    """The same in a child process with one thread; its failure is a row that says so."""
    one = json.dumps([part, name, source, budget, seed])
    command = [sys.executable, __file__, "--one", one]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name} on {source}, seed {seed}: {said}", file=sys.stderr, flush=True)
        return {"name": name, "source": source, "seed": seed, "figures": {}, "error": said}
    row: Row = json.loads(done.stdout.strip().splitlines()[-1])
    told = ", ".join(f"{key} {value:.3g}" for key, value in row["figures"].items() if ":" not in key)
    print(f"{name} on {source}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return row


def references() -> Iterator[Row]:
    """What the catalogue's own table says of the anomaly sets."""
    path = adbench() / "reference_auroc_sklearn.csv"
    for line in path.read_text().splitlines()[1:] if path.is_file() else []:
        source, _, _, _, protocol, *values = line.split(",")
        if protocol == "normal_only":
            for name, value in zip(("IForest", "PCArec90", "KNN5", "LOF20", "Mahalanobis"), values, strict=True):
                figures = {"AUROC": float(value)}
                yield {"name": f"reference {name}", "source": source, "seed": -1, "figures": figures}


def baselines(rows: list[Row]) -> list[Row]:
    """The baselines that stand in every row of detection, as rows of their own, once a source and seed."""
    own: dict[tuple[str, str, int], Figures] = {}
    for row in rows:
        for key, value in row["figures"].items():
            name, colon, figure = key.partition(": ")
            if colon:
                own.setdefault((name, row["source"], row["seed"]), {})[figure] = value
        row["figures"] = {key: value for key, value in row["figures"].items() if ": " not in key}
    return [{"name": n, "source": s, "seed": k, "figures": figures} for (n, s, k), figures in own.items()]


def train_all(part: str, chosen: argparse.Namespace) -> list[Row]:
    """All models of a part, over the seeds."""
    work = [
        (part, name, source, chosen.seconds, seed)
        for name, source in TRAINING[part].work()
        if not chosen.names or name in chosen.names
        for seed in chosen.seeds
    ]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        rows = list(pool.map(lambda job: in_process(*job), work))
    if part == "detection":
        rows += [*baselines(rows), *references()]
    return rows


# -- parts that do not train -----------------------------------------------------------------------------------------


def lines(chosen: argparse.Namespace) -> list[Row]:
    """Lines of code of every recipe's function, signature included, decorator and docstring left out."""
    rows = []
    for entry in list_models("gans"):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(entry.build)))).body
        assert isinstance(tree, ast.FunctionDef)
        about = tree.body[0].end_lineno - tree.body[0].lineno + 1 if ast.get_docstring(tree) else 0
        count = tree.end_lineno - tree.lineno + 1 - about
        rows.append({"name": entry.name, "source": "", "seed": 0, "figures": {"lines": float(count)}})
    middle = statistics.median(row["figures"]["lines"] for row in rows)
    rows.append({"name": "median", "source": "", "seed": 0, "figures": {"lines": middle}, "met": middle <= LONGEST})
    return rows


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


def speed(chosen: argparse.Namespace) -> list[Row]:
    """A round of dcgan (penalty=0) by the engine - averages, terms, marks and all - against a plain loop with the same
    networks and fused Adam, in processor time: one process, one thread, turns of about half a second, the side that
    begins changing. speed: the plain loop's time over ours, turn by turn, the median."""
    rows = []
    for source in ("mnist5k", "digits"):
        data = xn.load_data(source)
        trainer = Trainer(xn.create("dcgan", data, penalty=0.0), data, Budget(steps=25_000))
        (stage,) = trainer.stages
        trainer.enter(stage)

        def ours(trainer: Trainer = trainer, stage: Any = stage) -> None:
            trainer.play_round(stage)
            if trainer.at_mark():
                trainer.mark()

        plain = plain_round(xn.create("dcgan", data, penalty=0.0), data.split("train").first().x)
        seconds(ours, 10)
        calls = max(1, round(0.5 / (seconds(plain, 10))))
        pairs = []
        for turn in range(chosen.turns):
            sides = (ours, plain) if turn % 2 == 0 else (plain, ours)
            times = {side: seconds(side, calls) for side in sides}
            pairs.append((times[ours], times[plain]))
        ratios = [theirs / mine for mine, theirs in pairs]
        figures = {
            "speed": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
            "ours_ms": 1000 * statistics.median(mine for mine, _ in pairs),
            "plain_ms": 1000 * statistics.median(theirs for _, theirs in pairs),
        }  # fmt: skip
        met = figures["speed"] >= ROUNDED
        rows.append({"name": "dcgan round", "source": source, "seed": 0, "figures": figures, "met": met})
    return rows


WITHOUT: dict[str, Callable[[argparse.Namespace], list[Row]]] = {"lines": lines, "speed": speed}
PARTS = [*TRAINING, *WITHOUT]


# -- the table -------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """A line for each source and name: medians over the seeds, and the first figure of every seed."""
    shown = list(dict.fromkeys(key for row in rows for key in row["figures"]))
    several = len({row["seed"] for row in rows if row["seed"] >= 0}) > 1
    heads = ["data", "model", *shown, *([f"{shown[0]} by seed"] if several and shown else []), ""]
    text = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for source, name in dict.fromkeys((row["source"], row["name"]) for row in rows):
        own = [row for row in rows if (row["source"], row["name"]) == (source, name)]
        cells = [source, name]
        for key in shown:
            values = [row["figures"][key] for row in own if key in row["figures"]]
            cells.append(f"{statistics.median(values):.3g}" if values else "")
        if several and shown:
            cells.append(", ".join(f"{row['figures'].get(shown[0], float('nan')):.3g}" for row in own))
        met = [row["met"] for row in own if "met" in row]
        errors = [row["error"] for row in own if "error" in row]
        cells.append("; ".join(errors) or ("" if not met else "reached" if all(met) else "NOT reached"))
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def report(results: dict[str, Any]) -> str:
    """All parts that have figures, each under what it measures and how it was run."""
    text = ["# Figures of adversarial networks", ""]
    for name, part in results.items():
        about = TRAINING[name].about if name in TRAINING else " ".join((WITHOUT[name].__doc__ or "").split())
        head = [f"- {key}: {value}" for key, value in part.items() if key != "rows"]
        text += [f"## {name}", "", about, "", *head, "", table(part["rows"]), ""]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--names", nargs="*", default=[], help="these models alone")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15, help="of the speed part")
    parser.add_argument("--out", default="gans")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        print(json.dumps(measure(*json.loads(chosen.one))))
        return
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / chosen.out
    results = json.loads(stem.with_suffix(".json").read_text()) if stem.with_suffix(".json").is_file() else {}
    for name in chosen.only:
        print(name, flush=True)
        start = time.perf_counter()
        rows = train_all(name, chosen) if name in TRAINING else WITHOUT[name](chosen)
        results[name] = {
            "command": "python " + " ".join(["benchmarks/gans.py", *sys.argv[1:]]),
            "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread a model; load {os.getloadavg()[0]:.1f} at end",
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
            **({"processor seconds a model": chosen.seconds, "jobs": chosen.jobs} if name in TRAINING else {}),
            "took": f"{time.perf_counter() - start:.0f} s",
            "rows": rows,
        }
        ordered = {part: results[part] for part in PARTS if part in results}
        stem.with_suffix(".json").write_text(json.dumps(ordered, indent=1) + "\n")
        stem.with_suffix(".md").write_text(report(ordered))
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
