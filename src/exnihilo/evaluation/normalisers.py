"""Likelihoods of models whose normaliser is estimated: figures that say so, with the interval of the estimate."""

from __future__ import annotations

import math

import torch

from exnihilo.core import Batch, GenerativeModel, seeded
from exnihilo.evaluation.likelihood import Unit
from exnihilo.evaluation.value import Value

OPTIMISTIC = "log Z is estimated by importance sampling, rather too low than too high: the likelihood is optimistic"


@torch.no_grad()
def estimated_values(model: GenerativeModel, batch: Batch, protocol: str, *, seed: int = 0) -> dict[str, Value]:
    """`log_partition` with its interval, and the likelihood by it unless the model has one of its own.

    The likelihood's interval covers both the test examples (95 %) and the estimate (three standard errors). {} for
    models of which nothing has to be estimated.
    """
    estimate = model.estimated_log_partition(seed=seed)
    if estimate is None:
        return {}
    value, low, high = estimate
    values = {"log_partition": Value(value, low, high, 1, "log Z in nats, plus and minus three standard errors")}
    if "log_prob_bound" in model.capabilities:
        return values
    unit = Unit.of(model.spec, batch.x.cpu())
    with seeded("likelihood", seed):
        x, log_q = (batch.x, torch.zeros(len(batch))) if model.mass else model.spec.dequantise(batch.x)
        nats = torch.cat([model.energy(part).double().cpu() for part in x.split(256)]) + log_q.double().cpu()
    half = 1.96 * nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else math.inf
    mean = nats.mean().item()
    figure = Value(mean + value, mean - half + low, mean + half + high, len(nats), "nats per example", (OPTIMISTIC,))
    return values | {unit.key: figure.scaled(1 / unit.divisor, f"{unit.name} | {protocol}")}
