"""What a look at the predicted noise tells of a denoiser: figures at several times, what is wrong in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exnihilo.core import Batch, Findings, Noise
from exnihilo.models.diffusion.restoration import time_of_strength

if TYPE_CHECKING:
    from exnihilo.models.diffusion.family import Diffusion

#: Shares of noise at which is looked: sigma / (alpha + sigma), the same on every path.
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)
EXAMPLES = 128
OFF = 0.1  # of the unit variance of noise: mean or variance farther than this from what they should be
NO_BETTER = 1.05  # error over that of the linear denoiser
RISES = 1.1  # error of the data over that with more noise
BLIND = 1e-3  # change of the network's answer, relative, when it is told another time


@torch.no_grad()
def noise_findings(model: Diffusion, batch: Batch, *, seed: int = 0) -> Findings:
    """Mean, variance and error of the predicted noise at nine times, over all entries of up to 128 examples.

    noise is of mean 0 and variance 1, and an exact denoiser answers its expectation, so the predicted noise has mean 0
    and variance 1 - error (the variance splits into what is predicted and what is not). linear: the error of the best
    denoiser that knows only mean m and variance d of every entry, a^2 d / (a^2 d + s^2) averaged: to be beaten.
    data error: of the expected data, which falls with the noise (the data processing inequality). answer moves: how
    much the network's answer changes if it is told another time, relative to its size.
    """
    batch = batch[:EXAMPLES]
    x, label = batch.x, batch.label if model.labelled else None
    noise = Noise(seed, len(x), device=x.device)
    spread = x.double().var(dim=0).clamp_min(1e-12)
    names = ("noise share", "mean", "variance", "expected variance", "error", "linear", "data error", "answer moves")
    columns: dict[str, list[float]] = {name: [] for name in names}
    times = [time_of_strength(model, share) for share in SHARES]
    for place, time in enumerate(times):
        t = x.new_full((len(x),), time)
        if model.levels is not None:
            t = (t * model.levels).round().clamp(min=1) / model.levels
        alpha, sigma = (float(curve) for curve in model.path(t[0].double()))
        drawn = noise.like(x)
        noisy = alpha * x + sigma * drawn
        found = model.denoise(noisy, t, label=label, attributes=batch.attributes)
        predicted = found.noise.double()
        error = float((predicted - drawn).square().mean())
        other = x.new_full((len(x),), times[(place + len(times) // 2) % len(times)])
        line = (
            sigma / (alpha + sigma),
            float(predicted.mean()),
            float(predicted.var(correction=0)),
            1 - error,
            error,
            float((alpha**2 * spread / (alpha**2 * spread + sigma**2)).mean()),
            float((found.data - x).double().square().mean()),
            _moves(model, noisy, t, other, label, batch.attributes),
        )
        for name, value in zip(names, line, strict=True):
            columns[name].append(value)
    return Findings(f"predicted noise, {len(x)} examples", columns, verdicts(columns))


def _moves(
    model: Diffusion, x: Tensor, t: Tensor, other: Tensor, label: Tensor | None, attributes: Tensor | None
) -> float:
    """The change of the network's answer to the same input when it is told another time."""
    scaled = model.prediction.scale(model.path, t.view(-1, *[1] * (x.ndim - 1))) * x
    one, two = (model.network(scaled, model.path.clock(time), label, attributes) for time in (t, other))
    return float((one - two).norm() / one.norm().clamp_min(1e-12))


def verdicts(columns: dict[str, list[float]]) -> list[str]:
    """What the figures mean, each said once, with what to try."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    found = []
    if far := [row for row in rows if abs(row["mean"]) > OFF]:
        row = max(far, key=lambda row: abs(row["mean"]))
        found.append(
            f"The predicted noise has the mean {row['mean']:+.2f} where noise is {row['noise share']:.0%}, not 0:"
            " samples come out too bright or too dark. Train longer, or look for data that are not scaled."
        )
    if far := [row for row in rows if abs(row["variance"] - row["expected variance"]) > OFF]:
        row = max(far, key=lambda row: abs(row["variance"] - row["expected variance"]))
        word = "weak" if row["variance"] < row["expected variance"] else "strong"
        found.append(
            f"The predicted noise is too {word} where noise is {row['noise share']:.0%}: its variance is"
            f" {row['variance']:.2f} and should be {row['expected variance']:.2f}. Train longer, or with a lower rate."
        )
    if poor := [row for row in rows if row["error"] > NO_BETTER * row["linear"]]:
        shares = f"{poor[0]['noise share']:.0%}" + (f" to {poor[-1]['noise share']:.0%}" if len(poor) > 1 else "")
        found.append(
            f"Where noise is {shares}, the noise is predicted no better than by one who knows only mean and variance of"
            " every entry: nothing of the data's structure is learnt there. Train longer, or with a larger width."
        )
    errors = [row["data error"] for row in rows]
    if any(less > RISES * more for less, more in zip(errors, errors[1:], strict=False)):
        found.append(
            "The error of the expected data rises where noise gets less, which more information should never do."
            " Train longer, or weigh small noise more."
        )
    if max(columns["answer moves"]) < BLIND:
        found.append("The network ignores the time it is told: its answer is the same at every time.")
    return found
