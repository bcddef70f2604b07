"""Samplers of noise paths: each is one step from time t to time s; the loop over the steps is written once.

They see a path and a verb `denoise(x, t) -> Prediction` in which conditions, guidance and clipping are bound already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.paths import Path

#: The expected data and noise of x [B, *shape] at times t [B].
Denoise = Callable[[Tensor, Tensor], Prediction]


class Sampler(Protocol):
    """One step along the path, from time t to time s < t (towards the data; solvers of the ODE also the other way)."""

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        """x at time s, from x at time t."""
        ...


def solve(sampler: Sampler, denoise: Denoise, path: Path, x: Tensor, times: Sequence[float], noise: Noise) -> Tensor:
    """x at times[-1] from x at times[0], one step per pair of neighbours."""
    for t, s in pairwise(times):
        x = sampler.step(denoise, path, x, t, s, noise)
    return x


def time_grid(steps: int, levels: int | None = None) -> list[float]:
    """steps + 1 times from 1 down to 0 in equal steps, or rounded to those i / levels at which a network was trained.

    Visits t = 1 and ends at the data; more steps than levels are as many as levels.
    """
    if levels is None:
        return [1 - i / steps for i in range(steps)] + [0.0]
    steps = min(steps, levels)
    return [round(levels * (steps - i) / steps) / levels for i in range(steps)] + [0.0]


def curves(path: Path, t: float) -> tuple[float, float]:
    """(alpha, sigma) of a time that all samples share, as numbers in double precision."""
    alpha, sigma = path(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


def velocity(denoise: Denoise, path: Path, x: Tensor, t: float) -> Tensor:
    """dx/dt = alpha' data + sigma' noise, the probability-flow ODE (Lipman et al., 2023, arXiv:2210.02747, Eq. 15)."""
    prediction = denoise(x, shared_time(x, t))
    alpha_slope, sigma_slope = path.slopes(torch.tensor(t, dtype=torch.float64))
    return float(alpha_slope) * prediction.data + float(sigma_slope) * prediction.noise


def shared_time(x: Tensor, t: float) -> Tensor:
    """[B]: the time t for every example of x."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def transition_variance(path: Path, s: float, t: float) -> float:
    """Variance of q(x_t | x_s), s < t: sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2; for neighbours in a table, beta."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = curves(path, t), curves(path, s)
    return sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2


def posterior_variance(path: Path, s: float, t: float) -> float:
    """Variance of q(x_s | x_t, x_0), s < t (Ho et al., 2020, arXiv:2006.11239, Eq. 7); 0 at s = 0."""
    return transition_variance(path, s, t) * (curves(path, s)[1] / curves(path, t)[1]) ** 2


@dataclass(frozen=True)
class DDIM:
    """x_s = alpha_s data + sqrt(sigma_s^2 - v) noise + sqrt(v) z, with v = eta^2 * the posterior variance.

    Song et al., 2021, arXiv:2010.02502, Eq. 12 and 16. eta = 0 is deterministic, eta = 1 is `Ancestral("small")`.
    """

    eta: float = 0.0

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction, (alpha, sigma) = denoise(x, shared_time(x, t)), curves(path, s)
        if self.eta == 0:
            return alpha * prediction.data + sigma * prediction.noise
        variance = self.eta**2 * posterior_variance(path, s, t)
        x = alpha * prediction.data + math.sqrt(max(sigma**2 - variance, 0.0)) * prediction.noise
        return x + math.sqrt(variance) * noise.like(x)


@dataclass(frozen=True)
class Ancestral:
    """x_s = mean of q(x_s | x_t, data) + sqrt(v) z, z left out at s = 0.

    Ho et al., 2020, arXiv:2006.11239, Algorithm 2, for any pair of times. v is the posterior variance (right if the
    data were one point) or, `large`, that of the transition (right if they were N(0, 1)); with few steps the first
    gives too little variance, the second too much.
    """

    large: bool = False

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = curves(path, t), curves(path, s)
        transition, posterior = transition_variance(path, s, t), posterior_variance(path, s, t)
        of_data = alpha_s * transition / sigma_t**2
        of_x = alpha_t / alpha_s * (sigma_s / sigma_t) ** 2
        mean = of_data * denoise(x, shared_time(x, t)).data + of_x * x
        return mean + math.sqrt(transition if self.large else posterior) * noise.like(x) if s > 0 else mean


@dataclass(frozen=True)
class Euler:
    """x_s = x_t + (s - t) dx/dt: one evaluation a step, error of order 1; on the straight path it equals DDIM."""

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        return x + (s - t) * velocity(denoise, path, x, t)


@dataclass(frozen=True)
class Heun:
    """Euler's step, then again with the mean of the slopes at both its ends: two evaluations, error of order 2.

    Karras et al., 2022, arXiv:2206.00364, Algorithm 1, in t. The step that ends at the data is Euler's, for there a
    denoiser is not trained and may divide by sigma = 0; one such step leaves the order at 2.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        slope = velocity(denoise, path, x, t)
        guess = x + (s - t) * slope
        if s == 0:
            return guess
        return x + (s - t) / 2 * (slope + velocity(denoise, path, guess, s))
