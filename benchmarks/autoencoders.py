"""Figures of autoencoders and variational ones on real data, one thread, weights kept by validation.

    python benchmarks/autoencoders.py                       # everything, about an hour
    python benchmarks/autoencoders.py --only binary gaps    # some parts; the others keep their figures
    python benchmarks/autoencoders.py --only binary --seconds 5 --out try

Writes benchmarks/results/autoencoders.json and .md. `--seconds` is the training time of one model. Digits are split as
in the measurements they are compared with: the last 360 (other writers) are the test split, a tenth of the first 1,437
the validation split. A step of vae and vqvae beside pythae's is measured by speed.py.
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import processor
from task_figures import groups
from torch import Tensor, nn

import exnihilo as xn
from exnihilo import tasks
from exnihilo.core import Batch, DataSpec, GenerativeModel, seeded
from exnihilo.data.arrays import image_dataset
from exnihilo.data.dataset import Dataset
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.imputation import complete
from exnihilo.models.autoencoders.priors import StandardNormal
from exnihilo.nets.layers import Reshape
from exnihilo.probability.likelihoods import Gaussian

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
TRAIN = 1437  # digits; the writers of the others are not among theirs

Row = dict[str, Any]


def row(name: str, value: float, unit: str, reach: str = "", met: bool | None = None, note: str = "") -> Row:
    """One line of the table: what was reached, what had to be, and whether it was."""
    print(f"  {name}: {value:.5g} {unit} {reach} {'' if met is None else 'yes' if met else 'NO'} {note}", flush=True)
    return {"name": name, "value": value, "unit": unit, "reach": reach, "met": met, "note": note}


def at_most(name: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    return row(name, value, unit, f"<= {limit:g}", value <= limit, note)


def digits(threshold: int | None = None) -> Dataset:
    """Handwritten digits in 17 levels, or in two: at least `threshold`, or less."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = bunch.images.astype(np.uint8)
    own = torch.where(torch.arange(len(pixels)) < TRAIN, 0, 2)
    if threshold is not None:
        return image_dataset((pixels >= threshold).astype(np.uint8), bunch.target, levels=2, own=own)
    return image_dataset(pixels, bunch.target, levels=17, own=own)


def trained(name: str, data: Any, seconds: float, seed: int = 0, **options: Any) -> GenerativeModel:
    """A model after its training time, with the weights that validation kept."""
    model = xn.create(name, data, seed=seed, **options)
    xn.train(model, data, seconds=seconds, seed=seed, threads=1, progress=False)
    return model


@torch.no_grad()
def nats(model: GenerativeModel, x: Tensor, label: Tensor | None = None, k: int = 500) -> float:
    """Minus the log-probability of levels, exact or bounded with k draws, per example."""
    if "log_prob" in model.capabilities:
        return -float(model.log_prob(x).mean())
    return -float(model.log_prob_bound(x, k=k, label=label if model.labelled else None).mean())


def independent(data: Dataset, smoothing: float) -> float:
    """Nats of the product of every pixel's own smoothed histogram."""
    spec = data.spec
    train, test = (spec.to_levels(data.split(part).first().x).flatten(1) for part in ("train", "test"))
    counts = torch.nn.functional.one_hot(train, spec.levels).sum(dim=0) + smoothing
    log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
    return -float(log_p.gather(1, test.T).sum(dim=0).mean())


# -- parts -----------------------------------------------------------------------------------------------------------


def binary(seconds: float) -> list[Row]:
    """Binarised digits (at least half ink): nats per picture of the test split, smaller is better."""
    data = digits(threshold=8)
    test = data.split("test").first()
    floor, tree = independent(data, 0.1), nats(trained("chow_liu", data, seconds), test.x)
    rows = [row("independent pixels", floor, "nats"), row("chow_liu", tree, "nats")]
    reach = {"vae": 17.7, "iwae": 17.24}
    lineup: list[tuple[str, dict[str, Any]]] = [
        ("vae", {"latent": 8}), ("iwae", {"latent": 8, "k": 10}), ("vae", {"latent": 16}), ("vampprior", {}),
        ("gmvae", {}), ("flow_vae", {}), ("categorical_vae", {}), ("ladder_vae", {}), ("nvae", {}), ("cvae", {}),
        ("m2", {}), ("miwae", {"drop": 0.0}),
    ]  # fmt: skip
    for name, options in lineup:
        model = trained(name, data, seconds, **options)
        loose, tight = nats(model, test.x, test.label, k=1), nats(model, test.x, test.label)
        limit = reach.get(name, tree) if options.get("latent") != 16 else tree
        given = ", given the class" if model.labelled else ""
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        rows.append(
            at_most(f"{name} {said}".strip(), tight, limit, "nats", f"with 500 draws{given}; with one {loose:.2f}")
        )
    return rows


def levels(seconds: float) -> list[Row]:
    """Digits of 17 levels, probabilities of levels: bits per pixel of the test split.

    Dropout of vqvae (1.993 bits without, 1.971 with it, two seeds) was chosen on the validation split among 13 settings
    of 2,500 steps each; so were `coldest` of categorical_vae (0.4: 1.937, 0.6: 1.914, two seeds), its code's length
    (10: 1.929, 20: 1.979) and flow_vae's iaf gate (s + 3: 1.859, + 2: 1.914, + 1.5: 1.951). nvae's were not.
    """
    data = digits()
    test = data.split("test").first()
    bit = data.spec.size * math.log(2)
    floor, tree = independent(data, 0.1) / bit, nats(trained("chow_liu", data, seconds), test.x) / bit
    rows = [row("independent pixels", floor, "bits/dim"), row("chow_liu", tree, "bits/dim")]
    lineup: list[tuple[str, dict[str, Any], float]] = [
        ("vae", {"likelihood": "logistic"}, 2.0), ("vae", {"likelihood": "mixture_logistic"}, 2.0),
        ("vae", {"likelihood": "categorical"}, min(floor, tree)), ("iwae", {}, min(floor, tree)),
        ("vampprior", {}, min(floor, tree)), ("flow_vae", {}, min(floor, tree)), ("vqvae", {}, min(floor, tree)),
    ]  # fmt: skip
    for name, options, limit in lineup:
        model = trained(name, data, seconds, **options)
        said = " ".join(str(value) for value in options.values())
        rows.append(at_most(f"{name} {said}".strip(), nats(model, test.x) / bit, limit, "bits/dim", "with 500 draws"))
    return rows


def pca(seconds: float) -> list[Row]:
    """The subspace of a linear autoencoder against that of principal components, eight numbers of digits."""
    from scipy.linalg import subspace_angles
    from sklearn.decomposition import PCA

    data = digits()
    model = trained("linear_autoencoder", data, seconds, latent=8)
    axes = PCA(8).fit(data.split("train").first().x.flatten(1).double().numpy()).components_
    with torch.no_grad():
        origin = model.decode(torch.zeros(1, 8))
        basis = (model.decode(torch.eye(8)) - origin).flatten(1).double().numpy()
    return [at_most("largest angle between the subspaces", float(subspace_angles(basis.T, axes.T).max()), 1e-3, "rad")]


def deep(seconds: float) -> list[Row]:
    """Squared error per pixel (ink from 0 to 1) of the test split, beside as many principal components."""
    from sklearn.decomposition import PCA

    data, rows = digits(), []
    train, test = (data.split(part).first().x for part in ("train", "test"))
    for latent in (2, 8, 16):
        solver = PCA(latent).fit(train.flatten(1).numpy())
        rebuilt = torch.from_numpy(solver.inverse_transform(solver.transform(test.flatten(1).numpy()))).view_as(test)
        limit = float((rebuilt - test).square().mean()) / 4
        model = trained("autoencoder", data, seconds, latent=latent)
        with torch.no_grad():
            reached = float((model.reconstruct(test) - test).square().mean())
        rows.append(at_most(f"autoencoder, {latent} numbers", reached / 4, limit, "per pixel", "the limit is PCA's"))
    return rows


class LinearEncoder(nn.Module):
    """q = N(A x + a, diag exp(v)), v free of x: the exact posterior of a linear Gaussian model is of this form."""

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.layer, self.log_variance = nn.Linear(size, latent), nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.layer(x)
        return torch.stack([mean, self.log_variance.expand_as(mean)], dim=1)


def linear_vae(x: Tensor, latent: int, steps: int) -> VAE:
    """A VAE of linear networks on all of x at once."""
    with seeded("linear vae"):
        size = x.shape[1]
        decoder = nn.Sequential(nn.Linear(latent, size), Reshape(size))
        model = VAE(LinearEncoder(size, latent), decoder, Gaussian(), StandardNormal((latent,))).double()
        model.spec = DataSpec("vector", (size,))
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            terms = model.loss(Batch(x))
            optimizer.zero_grad()
            (terms["reconstruction"] + terms["divergence"]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def wine() -> Dataset:
    from sklearn.datasets import load_wine

    return xn.load_data(load_wine().data)


def ppca(seconds: float) -> list[Row]:
    """A VAE of linear networks against the exact likelihood of probabilistic PCA, wine, three numbers."""
    data = wine()
    x = data.split("train").first().x.double()
    exact = trained("ppca", data, seconds, latent=3).double().log_prob(x).mean().item()
    model = linear_vae(x, 3, 6000)
    reached = torch.stack([model.log_prob_bound(x, seed=seed).mean() for seed in range(200)]).mean().item()
    return [row("ppca, exact", exact, "nats"), row("linear vae, bound", reached, "nats"),
            at_most("difference", abs(exact - reached), 0.02, "nats")]  # fmt: skip


def bounds(seconds: float) -> list[Row]:
    """Bounds of a linear VAE stopped early, against the exact density of its own model, wine."""
    x = wine().split("train").first().x.double()
    model = linear_vae(x, 3, 60)
    layer = model.decoder[0]
    weight, noise = layer.weight.detach(), model.likelihood.variance.detach()
    covariance = weight @ weight.T + noise * torch.eye(len(weight)).double()
    exact = torch.distributions.MultivariateNormal(layer.bias.detach(), covariance).log_prob(x).mean().item()
    means = {
        k: statistics.mean(model.log_prob_bound(x, k=k, seed=s).mean().item() for s in range(40)) for k in (1, 5, 50)
    }
    ordered = means[1] <= means[5] <= means[50] <= exact
    return [
        *(row(f"bound with {k} draws", value, "nats") for k, value in means.items()),
        row("exact", exact, "nats", "in this order", ordered),
    ]


def codebook(seconds: float) -> list[Row]:
    """Share of a codebook that is in use: exp(entropy of use) over its size, training split of digits."""
    data = digits()
    model = trained("vqvae", data, seconds)
    use = torch.bincount(model.codes(data.split("train").first().x).flatten(), minlength=model.codebook.codes).double()
    share = use / use.sum()
    perplexity = torch.special.entr(share).sum().exp().item() / len(use)
    met = perplexity > 0.6
    return [
        row("perplexity over codes", perplexity, "share", "> 0.6", met, f"{int((use > 0).sum())} of {len(use)} occur")
    ]


def debias(seconds: float) -> list[Row]:
    """Accuracy of the worst group: digits, odd against even, where turned odd ones are rare in training."""
    rows, steps = [], max(30, round(25 * seconds))
    worst: dict[str, list[float]] = {}
    for combine in ("uniform", "max"):
        for seed in SEEDS:
            figures = groups(seed=seed, steps=steps, debias="odd", combine=combine)
            worst.setdefault(combine, []).append(min(figures[name] for name in figures if " " in name))
    plain, lifted = (statistics.median(worst[name]) for name in ("uniform", "max"))
    rows.append(row("db_vae without resampling", plain, "accuracy", note=str(worst["uniform"])))
    rows.append(row("db_vae", lifted, "accuracy", f"> {plain:g}", lifted > plain, str(worst["max"])))
    return rows


def gaps(seconds: float) -> list[Row]:
    """breast_cancer, half of the values missing, filled in the training split: squared error over the variance."""
    figures: dict[str, list[float]] = {}
    for seed in SEEDS:
        data = xn.load_data("breast_cancer")
        gappy = tasks.with_gaps(data, seed=seed)
        model = trained("miwae", gappy, seconds, seed=seed, drop=0.0)
        judged = tasks.impute(model, data, split="train", incomplete=True, limit=1000, n=1, seed=seed)
        for name, values in judged.rows.items():
            if name != "miwae":
                figures.setdefault(name, []).append(values["error"].value)
        whole, seen = data.split("train").first().x, gappy.split("train").first()
        filled = complete(model, seen.x, seen.mask, particles=10_000, seed=seed).mean
        variance = torch.where(seen.mask, whole, 0.0).square().sum(dim=0) / seen.mask.sum(dim=0)
        error = ((filled - whole).square() / variance)[~seen.mask].mean().item()
        figures.setdefault("miwae, 10,000 codes", []).append(error)
    return [
        at_most(name, statistics.mean(values), 0.35, "of the variance", str([round(v, 3) for v in values]))
        if name.startswith("miwae")
        else row(name, statistics.mean(values), "of the variance", note=str([round(v, 3) for v in values]))
        for name, values in figures.items()
    ]


def few_labels(seconds: float) -> list[Row]:
    """Digits with five labels a class, accuracy on the test split over five choices of them."""
    from sklearn.linear_model import LogisticRegression

    data = digits()
    train, test = data.split("train").first(), data.split("test").first()
    reached: dict[str, list[float]] = {"m2": [], "logistic regression": []}
    for seed in range(5):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        known = torch.cat([order[train.label[order] == c][:5] for c in range(10)])

        def hide(batch: Batch, known: Tensor = known) -> Batch:
            return batch.replace(label=torch.where(torch.isin(batch.index, known), batch.label, -1))

        model = trained("m2", data.map(hide), seconds, seed=seed)
        with torch.no_grad():
            right = (model.classify(test.x).argmax(dim=1) == test.label).double().mean()
        reached["m2"].append(right.item())
        solver = LogisticRegression(max_iter=2000).fit(train.x[known].flatten(1), train.label[known])
        reached["logistic regression"].append(float(solver.score(test.x.flatten(1), test.label)))
    alone, beside = (statistics.mean(reached[name]) for name in ("logistic regression", "m2"))
    spread = {name: str([round(value, 3) for value in values]) for name, values in reached.items()}
    return [
        row("logistic regression on the labelled", alone, "accuracy", note=spread["logistic regression"]),
        row("m2", beside, "accuracy", "> 0.85", beside > 0.85, spread["m2"]),
    ]


def clusters(seconds: float) -> list[Row]:
    """Digits in ten clusters, normalised mutual information with the classes, training split."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score as information

    data = digits()
    train = data.split("train").first()
    plain = [
        information(train.label, KMeans(10, n_init=10, random_state=s).fit_predict(train.x.flatten(1))) for s in SEEDS
    ]
    reached = []
    for seed in SEEDS:
        model = trained("gmvae", data, seconds, seed=seed)
        with torch.no_grad():
            reached.append(information(train.label, model.clusters(train.x).argmax(dim=1)))
    mean = float(statistics.mean(reached))
    return [
        row("k-means", float(statistics.mean(plain)), "information"),
        row("gmvae", mean, "information", ">= 0.7", mean >= 0.7, str([round(float(value), 3) for value in reached])),
    ]


PARTS: dict[str, Callable[[float], list[Row]]] = {
    part.__name__: part
    for part in (binary, levels, pca, deep, ppca, bounds, codebook, debias, gaps, few_labels, clusters)
}


# -- the table -------------------------------------------------------------------------------------------------------


def table(results: dict[str, Any]) -> str:
    """All parts that have figures, each under what it measures and how it was run."""
    text = ["# Figures of autoencoders", ""]
    for name, part in results.items():
        text += [f"## {name}", "", inspect.getdoc(PARTS[name]) or "", ""]
        text += [f"- {key}: {part[key]}" for key in ("command", "machine", "torch", "date", "seconds a model", "took")]
        text += ["", "| what | figure | | to reach | reached | |", "|---|--:|---|---|---|---|"]
        for line in part["rows"]:
            met = "" if line["met"] is None else "yes" if line["met"] else "no"
            text.append(
                f"| {line['name']} | {line['value']:.4g} | {line['unit']} | {line['reach']} | {met} | {line['note']} |"
            )
        text.append("")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", default="autoencoders")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / chosen.out
    results = json.loads(stem.with_suffix(".json").read_text()) if stem.with_suffix(".json").is_file() else {}
    for name in chosen.only:
        print(name, flush=True)
        start = time.perf_counter()
        rows = PARTS[name](chosen.seconds)
        results[name] = {
            "command": "python " + " ".join(["benchmarks/autoencoders.py", *sys.argv[1:]]),
            "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread; load {os.getloadavg()[0]:.1f} at the end",
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
            "seconds a model": chosen.seconds,
            "took": f"{time.perf_counter() - start:.0f} s",
            "rows": rows,
        }
        print("  " + ", ".join(f"{key}: {value}" for key, value in results[name].items() if key != "rows"), flush=True)
        ordered = {part: results[part] for part in PARTS if part in results}
        stem.with_suffix(".json").write_text(json.dumps(ordered, indent=1) + "\n")
        stem.with_suffix(".md").write_text(table(ordered))


if __name__ == "__main__":
    main()
