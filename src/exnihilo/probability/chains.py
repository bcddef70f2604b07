"""Markov chains over examples, and what can be computed with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Chance(Protocol):
    """Where a chain takes its random numbers: `core.Noise` when it samples, `TorchChance` when it trains."""

    def bernoulli(self, probability: Tensor) -> Tensor:
        """Zeros and ones of the shape and type of `probability` [B, ...]."""
        ...

    def like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape of x."""
        ...


class TorchChance:
    """torch's own generator, for losses: the trainer seeds it. Faster than a stream per sample."""

    def bernoulli(self, probability: Tensor) -> Tensor:
        """Zeros and ones of the shape and type of `probability`."""
        return torch.rand_like(probability).lt_(probability)

    def like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape of x."""
        return torch.randn_like(x)


#: One step that leaves a distribution as it is: x [B, ...] -> x [B, ...].
Kernel = Callable[[Tensor, Chance], Tensor]


def run_chain(kernel: Kernel, x: Tensor, steps: int, chance: Chance) -> Tensor:
    """`steps` applications of the kernel to every row of x."""
    for _ in range(steps):
        x = kernel(x, chance)
    return x


def clamped(kernel: Kernel, x: Tensor, mask: Tensor) -> Kernel:
    """The kernel with entries held at x where mask is True: for block Gibbs, a chain of the others given them."""
    return lambda state, chance: torch.where(mask, x, kernel(state, chance))


def single_sites(log_odds: Callable[[Tensor, int], Tensor], mask: Tensor | None = None) -> Kernel:
    """A sweep of Gibbs sampling over binary units [B, n], one after the other.

    Geman & Geman, 1984, IEEE PAMI 6:  x_i ~ p(x_i | x_-i). log_odds: (x, i) -> [B], log p(x_i = 1 | x_-i) / p(x_i = 0 |
    x_-i). mask [B, n]: True where a unit keeps its value, which all others see throughout.
    """

    def sweep(x: Tensor, chance: Chance) -> Tensor:
        threshold = torch.special.ndtr(chance.like(x)).logit()  # x_i = 1 with probability P(threshold < log-odds)
        x = x.clone()
        for i in range(x.shape[1]):
            drawn = (log_odds(x, i) > threshold[:, i]).to(x)
            x[:, i] = drawn if mask is None else torch.where(mask[:, i], x[:, i], drawn)
        return x

    return sweep


class LogEstimate(NamedTuple):
    """The logarithm of a mean of importance weights, in nats.

    low and high: logarithms of the mean minus and plus three standard errors; equal to `value` where it is exact. By
    Jensen's inequality the value tends to be too low, so a likelihood normalised with it tends to be too good.
    """

    value: float
    low: float
    high: float
    effective: float  # sample size of the weights

    @classmethod
    def known(cls, value: float) -> LogEstimate:
        """A value that is exact."""
        return cls(value, value, value, math.inf)

    def plus(self, constant: float) -> LogEstimate:
        """The logarithm of a constant multiple."""
        return LogEstimate(self.value + constant, self.low + constant, self.high + constant, self.effective)


def log_mean_exp(log_weights: Tensor) -> LogEstimate:
    """log (1/M) sum exp(log_weights [M]) with its interval, in float64."""
    logs = log_weights.double()
    largest = logs.max()
    weights = (logs - largest).exp()
    mean = weights.mean()
    error = 3 * weights.std() / math.sqrt(len(weights))
    low = (mean - error).clamp(min=torch.finfo(torch.float64).tiny).log() + largest
    high = (mean + error).log() + largest
    effective = weights.sum().square() / weights.square().sum()
    return LogEstimate(float(mean.log() + largest), float(low), float(high), float(effective))


def annealed_importance(
    log_density: Callable[[float, Tensor], Tensor],
    kernel: Callable[[float, Tensor, Chance], Tensor],
    start: Tensor,
    temperatures: Tensor,
    chance: Chance,
) -> Tensor:
    """[M] log importance weights whose mean weight is Z_1 / Z_0 (annealed importance sampling).

    Neal, 2001, Statistics and Computing 11:  log w = sum_k f_{t_k}(x_{k-1}) - f_{t_{k-1}}(x_{k-1}), where
    x_k ~ kernel(t_k). log_density: f_t(x) [M], unnormalised, for t from 0 to 1; kernel: leaves exp(f_t) as it is;
    start: x_0 [M, ...] drawn exactly from exp(f_0); temperatures: from 0 to 1, increasing. Caution: too few
    temperatures underestimate Z without saying so; compare with twice as many.
    """
    x, steps = start, temperatures.tolist()
    log_weights = start.new_zeros(len(start), dtype=torch.float64)
    for before, now in zip(steps[:-1], steps[1:], strict=True):
        log_weights += log_density(now, x).double() - log_density(before, x).double()
        x = kernel(now, x, chance)
    return log_weights


def annealing_schedule(count: int) -> Tensor:
    """[count + 1] temperatures from 0 to 1, dense towards 1: 3 % up to 0.5, 28 % up to 0.9, the others up to 1.

    The proportions of Salakhutdinov & Murray, 2008 (ICML).
    """
    first, second = max(1, round(count * 500 / 14500)), max(1, round(count * 4000 / 14500))
    third = max(1, count - first - second)
    parts = [torch.linspace(0, 0.5, first + 1)[:-1], torch.linspace(0.5, 0.9, second + 1)[:-1]]
    return torch.cat([*parts, torch.linspace(0.9, 1, third + 1)]).double()
