"""Samplers that remember the expected data of earlier steps: high order for one evaluation a step.

All work in half log SNR, lambda = log(alpha / sigma), along which the exact solution of the probability-flow ODE is

    x_s = (sigma_s / sigma_t) x_t + sigma_s * integral of e^lambda data(lambda) from lambda_t to lambda_s

(Lu et al., 2022, arXiv:2211.01095, Eq. 8): only the expected data have to be extrapolated. They take their orders from
a memory that is right for one path, so `Sampler.begin` empties it. Here h = lambda_s - lambda_t > 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import Denoise, Step
from exnihilo.probability.transitions import curves, shared_time


class Seen(NamedTuple):
    """Expected data at a half log SNR."""

    at: float
    data: Tensor


def half_log_snr(path: Path, t: float) -> float:
    """lambda of a time that all samples share: infinite at the data, minus infinite where no signal is left."""
    alpha, sigma = curves(path, t)
    if sigma == 0:
        return math.inf
    return -math.inf if alpha == 0 else math.log(alpha / sigma)


def exponential_step(path: Path, x: Tensor, t: float, s: float, data: Tensor) -> Tensor:
    """(sigma_s / sigma_t) x + alpha_s (1 - e^-h) data: the exact solution while the expected data do not change.

    The same numbers as DDIM's step; at s = 0 it is `data`.
    """
    (_, sigma_t), (alpha, sigma) = curves(path, t), curves(path, s)
    h = half_log_snr(path, s) - half_log_snr(path, t)
    return sigma / sigma_t * x - alpha * math.expm1(-h) * data


@dataclass(frozen=True)
class PLMS:
    """DDIM's step with the noise extrapolated from up to four evaluations, as Adams and Bashforth do.

    Liu et al., 2022, arXiv:2202.09778, Eq. 9 and 12, without their Runge-Kutta start: the first steps are of lower
    order, and that to the data is of order 1, for sigma falls too fast there to look ahead. The weights are those of
    equal steps in t: use it on such a grid.
    """

    def begin(self) -> Step:
        return _PLMS()


#: Of the newest noise first.
ADAMS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


@dataclass
class _PLMS:
    seen: list[Tensor] = field(default_factory=list)

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        prediction = denoise(x, shared_time(x, t))
        (alpha_t, sigma_t), (alpha, sigma) = curves(path, t), curves(path, s)
        if alpha_t == 0 or s == 0:  # without signal the data do not follow from the noise: nothing to remember
            return alpha * prediction.data + sigma * prediction.noise
        self.seen = [prediction.noise, *self.seen[:3]]
        weights = ADAMS[len(self.seen) - 1]
        extrapolated = sum((w * e for w, e in zip(weights, self.seen, strict=True)), torch.zeros_like(x))
        return alpha / alpha_t * (x - sigma_t * extrapolated) + sigma * extrapolated


@dataclass(frozen=True)
class DPMSolver:
    """DPM-Solver++(2M): data extrapolated in a straight line through the last two evaluations, error of order 2.

    D = m_0 + (m_0 - m_1) / (2 r), r = (lambda_t - lambda_before) / h, in `exponential_step`; Lu et al., 2022,
    arXiv:2211.01095, Algorithm 2. The first step and that to the data are of order 1. stochastic: with fresh noise in
    every step, their SDE-DPM-Solver++(2M), Eq. 19; of order 1 it would be ancestral sampling.
    """

    stochastic: bool = False

    def begin(self) -> Step:
        return _DPMSolver(self.stochastic)


@dataclass
class _DPMSolver:
    stochastic: bool
    before: Seen | None = None

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        now = Seen(half_log_snr(path, t), denoise(x, shared_time(x, t)).data)
        before, self.before = self.before, now
        (_, sigma_t), (alpha, sigma) = curves(path, t), curves(path, s)
        if sigma == 0:
            return alpha * now.data
        h, data = half_log_snr(path, s) - now.at, now.data
        if before is not None and math.isfinite(before.at) and now.at > before.at:
            data = data + h / (2 * (now.at - before.at)) * (now.data - before.data)
        if not self.stochastic:
            return exponential_step(path, x, t, s, data)
        fresh = -math.expm1(-2 * h)
        mean = sigma / sigma_t * math.exp(-h) * x + alpha * fresh * data
        return mean + sigma * math.sqrt(fresh) * noise.like(x)


@dataclass(frozen=True)
class UniPC:
    """Unified predictor-corrector: extrapolates the data, looks, then corrects the step with what it sees there.

    Zhao et al., 2023, arXiv:2302.04867, Eq. 3, 8 and 9, in data prediction; error of order `order` + 1 for one
    evaluation a step, since what the corrector needs is also the next step's. kind: their two functions B(h); bh1
    suits few steps without guidance. The step to the data is not corrected.
    """

    order: Literal[1, 2, 3] = 2
    kind: Literal["bh1", "bh2"] = "bh2"

    def begin(self) -> Step:
        return _UniPC(self.order, self.kind)


@dataclass
class _UniPC:
    order: int
    kind: str
    seen: list[Seen] = field(default_factory=list)  # newest first
    start: Tensor | None = None  # x before the last step, from which it is corrected
    place: tuple[float, float] = (1.0, 1.0)  # times of that step

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        now = Seen(half_log_snr(path, t), denoise(x, shared_time(x, t)).data)
        if self.start is not None and self.seen:
            x = self._move(path, self.start, *self.place, self._order(), now)
        self.seen = [now, *(old for old in self.seen[: self.order - 1] if math.isfinite(old.at))]
        self.start, self.place = x, (t, s)
        if curves(path, s)[1] == 0:
            return exponential_step(path, x, t, s, now.data)
        return self._move(path, x, t, s, self._order(), None)

    def _order(self) -> int:
        return min(self.order, len(self.seen))

    def _move(self, path: Path, x: Tensor, t: float, s: float, order: int, reached: Seen | None) -> Tensor:
        """From t to s with what has been seen, and with what was seen at s where it is known: UniP and UniC."""
        newest, older = self.seen[0], self.seen[1:order]
        base = exponential_step(path, x, t, s, newest.data)
        h = half_log_snr(path, s) - newest.at
        if not math.isfinite(h):
            return base
        places = [(old.at - newest.at) / h for old in older]
        slopes = [(old.data - newest.data) / r for old, r in zip(older, places, strict=True)]
        if reached is not None:
            places, slopes = [*places, 1.0], [*slopes, reached.data - newest.data]
        if not places:
            return base
        scale = -h if self.kind == "bh1" else math.expm1(-h)
        weights = unified_weights(places, h, scale)
        change = sum((w * slope for w, slope in zip(weights, slopes, strict=True)), torch.zeros_like(x))
        return base - curves(path, s)[0] * scale * change


def unified_weights(places: list[float], h: float, scale: float) -> list[float]:
    """rho of sum_j rho_j r_j^(k-1) = b_k, k = 1 ... p, by which a step of size h is exact for polynomials.

    Zhao et al., 2023, Eq. 5 and 11: b_k = k! phi_{k+1}(-h) / B with phi_1(z) = (e^z - 1) / z and phi_{k+1}(z) =
    (phi_k(z) - 1 / k!) / z. places: r_j, where the evaluations lie, in steps; scale: B(h). One evaluation weighs 1/2.
    """
    if len(places) == 1:
        return [0.5]
    z, rows = -h, len(places)
    term, factorial, right = math.expm1(z) / z - 1, 1, []
    for k in range(1, rows + 1):
        right.append(term * factorial / scale)
        factorial *= k + 1
        term = term / z - 1 / factorial
    powers = torch.tensor([[r**k for r in places] for k in range(rows)], dtype=torch.float64)
    solution: list[float] = torch.linalg.solve(powers, torch.tensor(right, dtype=torch.float64)).tolist()
    return solution
