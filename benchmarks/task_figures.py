"""Figures of tasks on real data, for benchmarks/autoencoders.py and for a look by hand.

    python benchmarks/task_figures.py gaps       # breast_cancer, half of the values missing
    python benchmarks/task_figures.py groups     # digits, one group of one class rare

Prints one JSON object per model and seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
import torch

import exnihilo as xn
from exnihilo import tasks


def gaps(name: str = "vae", *, seed: int = 0, steps: int = 2000, **options: Any) -> dict[str, float]:
    """Squared error over the variance, by row: half of the values of breast_cancer are missing and are filled.

    The protocol of MIWAE (Mattei & Frellsen, 2019, arXiv:1812.02633, table 1): train on the incomplete examples, fill
    these same examples. The published figures for this set: MIWAE 0.280, mean 1.00, nearest rows 0.831.
    """
    data = xn.load_data("breast_cancer")
    model = xn.create(name, data, seed=seed, **options)
    xn.train(model, tasks.with_gaps(data, seed=seed), steps=steps, seed=seed, threads=1, progress=False)
    judged = tasks.impute(model, data, split="train", incomplete=True, limit=500, seed=seed)
    return {row: round(figures["error"].value, 4) for row, figures in judged.rows.items()}


def skewed_digits(rare: float) -> Any:
    """Odd against even digits; half of the even ones are turned by 90 degrees, but only a share `rare` of the odd ones.

    So being turned speaks for even, and a turned odd digit is what a classifier gets wrong. rare=0 turns none.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pictures, odd = bunch.images.astype(np.uint8), bunch.target % 2 == 1
    if rare:
        for row in (*np.flatnonzero(odd)[:: round(1 / rare)], *np.flatnonzero(~odd)[::2]):
            pictures[row] = np.rot90(pictures[row])
    return xn.load_data((pictures, np.where(odd, "odd", "even")), levels=17)


def groups(name: str = "db_vae", *, seed: int = 0, steps: int = 1500, **options: Any) -> dict[str, float]:
    """Accuracy by group on the test split, every digit of which is shown upright and turned."""
    data = skewed_digits(rare=0.05)
    model = xn.create(name, data, seed=seed, **options)
    xn.train(model, data, steps=steps, seed=seed, threads=1, progress=False)
    test = skewed_digits(rare=0).split("test").first()  # the same rows, none of them turned
    assert test.label is not None
    x = torch.cat([test.x, torch.rot90(test.x, dims=(2, 3))])
    label = test.label.repeat(2)
    group = label + 2 * (torch.arange(len(x)) >= len(test)).long()
    names = tuple(f"{turn} {kind}" for turn in ("upright", "turned") for kind in data.spec.class_names)
    figures = tasks.group_accuracy(model, x, label, group, names)
    return {name: round(value.value, 4) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gaps", "groups"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        if chosen.what == "gaps":
            print(json.dumps({"seed": seed, **gaps(seed=seed, steps=chosen.steps)}), flush=True)
            continue
        for combine in ("none", "uniform", "max"):
            row = groups(seed=seed, steps=chosen.steps, debias="odd", combine=combine)
            print(json.dumps({"seed": seed, "resampling": combine, **row}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
