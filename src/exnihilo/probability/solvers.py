"""Samplers of noise paths: each is one step from time t to time s; the loop over the steps is written once.

They see a path and a verb `denoise(x, t) -> Prediction` in which conditions, guidance and clipping are bound already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.transitions import curves, posterior_variance, shared_time
from exnihilo.probability.variances import Variance, small

#: The expected data and noise of x [B, *shape] at times t [B].
Denoise = Callable[[Tensor, Tensor], Prediction]


class Step(Protocol):
    """One step along the path, from time t to time s < t (towards the data; solvers of the ODE also the other way)."""

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        """x at time s, from x at time t."""
        ...


class Sampler(Protocol):
    """A recipe of steps. What remembers earlier steps begins anew with every run; the others are their own step."""

    def begin(self) -> Step:
        """Steps with an empty memory."""
        ...


class Memoryless:
    """A sampler whose steps know nothing of each other."""

    def begin(self) -> Self:
        return self


#: An alpha so small that data cannot be told by dividing by it.
NO_SIGNAL = 1e-6

#: What is done to x after a step that ended at time s: (x, s) -> x. Known pixels, for one.
After = Callable[[Tensor, float], Tensor]


def solve(
    sampler: Sampler,
    denoise: Denoise,
    path: Path,
    x: Tensor,
    times: Sequence[float],
    noise: Noise,
    after: After | None = None,
) -> Tensor:
    """x at times[-1] from x at times[0], one step per pair of neighbours, each followed by `after`."""
    steps = sampler.begin()
    for t, s in pairwise(times):
        x = steps.step(denoise, path, x, t, s, noise)
        if after is not None:
            x = after(x, s)
    return x


def velocity(path: Path, prediction: Prediction, t: float) -> Tensor:
    """dx/dt = alpha' data + sigma' noise, the probability-flow ODE (Lipman et al., 2023, arXiv:2210.02747, Eq. 15)."""
    alpha_slope, sigma_slope = path.slopes(torch.tensor(t, dtype=torch.float64))
    return float(alpha_slope) * prediction.data + float(sigma_slope) * prediction.noise


def flow(denoise: Denoise, path: Path) -> Callable[[float, Tensor], Tensor]:
    """(t, x) -> dx/dt, the field of the ODE."""
    return lambda t, x: velocity(path, denoise(x, shared_time(x, t)), t)


@dataclass(frozen=True)
class DDIM(Memoryless):
    """x_s = alpha_s data + sqrt(sigma_s^2 - v) noise + sqrt(v) z, with v = eta^2 * the posterior variance.

    Song et al., 2021, arXiv:2010.02502, Eq. 12 and 16. eta = 0 is deterministic, eta = 1 is `Ancestral()`.
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
class Ancestral(Memoryless):
    """x_s = mean of q(x_s | x_t, data) + sqrt(v) z, z left out where v is 0, as it is at s = 0.

    Ho et al., 2020, arXiv:2006.11239, Algorithm 2, for any pair of times. variance: `small` gives too little with few
    steps, `large` too much, `learned` and `Analytic` what fits. Noise and data of the prediction must add up to x.
    """

    variance: Variance = small

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction, (alpha, sigma) = denoise(x, shared_time(x, t)), curves(path, s)
        rest = math.sqrt(max(sigma**2 - posterior_variance(path, s, t), 0.0))
        mean = alpha * prediction.data + rest * prediction.noise
        variance = self.variance(path, s, t, prediction)
        if isinstance(variance, float) and variance == 0:
            return mean
        return mean + torch.as_tensor(variance, dtype=x.dtype, device=x.device).sqrt() * noise.like(x)


@dataclass(frozen=True)
class Euler(Memoryless):
    """x_s = x_t + (s - t) dx/dt: one evaluation a step, error of order 1; on the straight path it equals DDIM.

    At s = 0 it shows the expected data, as DDIM does: there the slope of sigma may be infinite.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction = denoise(x, shared_time(x, t))
        return prediction.data if s == 0 else x + (s - t) * velocity(path, prediction, t)


@dataclass(frozen=True)
class Heun(Memoryless):
    """Euler's step, then again with the mean of the slopes at both its ends: two evaluations, error of order 2.

    In t, for paths of constant speed. The step that ends at the data is Euler's, for there no denoiser is trained and
    it may divide by sigma = 0; one such step leaves the order at 2.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction = denoise(x, shared_time(x, t))
        if s == 0:
            return prediction.data
        slope = velocity(path, prediction, t)
        return x + (s - t) / 2 * (slope + flow(denoise, path)(s, x + (s - t) * slope))


@dataclass(frozen=True)
class NoiseHeun(Memoryless):
    """Heun's method for x / alpha along sigma / alpha, whose slope is the noise: x_s / alpha_s = x_t / alpha_t + ...

    (sigma_s / alpha_s - sigma_t / alpha_t) (noise_t + noise_s) / 2: Karras et al., 2022, arXiv:2206.00364, Algorithm 1,
    on any path. Its first half is DDIM's step; so are the step to the data and one from where no signal is left.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction, (alpha_t, sigma_t), (alpha, sigma) = denoise(x, shared_time(x, t)), curves(path, t), curves(path, s)
        guess = alpha * prediction.data + sigma * prediction.noise
        if s == 0 or alpha_t < NO_SIGNAL:
            return guess
        mean = (prediction.noise + denoise(guess, shared_time(x, s)).noise) / 2
        return alpha / alpha_t * x + (sigma - alpha / alpha_t * sigma_t) * mean
