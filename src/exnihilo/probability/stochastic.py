"""Samplers that keep adding noise: churned, predictor-corrector, annealed Langevin, the reverse SDE, few-step jumps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import (
    DDIM,
    NO_SIGNAL,
    Ancestral,
    Denoise,
    Memoryless,
    NoiseHeun,
    Sampler,
    Step,
    velocity,
)
from exnihilo.probability.transitions import curves, renoised, shared_time, transition_scale, transition_variance


@dataclass(frozen=True)
class Churned:
    """Before every step go back some noise: to the level (1 + amount) sigma / alpha, then step from there.

    Karras et al., 2022, arXiv:2206.00364, Algorithm 2 (with Heun's step); new noise corrects earlier errors. amount:
    their S_churn / N, at most sqrt(2) - 1. low, high: the noise levels between which it is done. inflate: S_noise,
    slightly above 1 against the loss of detail.
    """

    amount: float = math.sqrt(2) - 1
    low: float = 0.0
    high: float = math.inf
    inflate: float = 1.0
    inner: Sampler = field(default_factory=NoiseHeun)

    def begin(self) -> Step:
        return _Churned(self, self.inner.begin())


@dataclass
class _Churned:
    options: Churned
    inner: Step

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        options, (alpha, sigma) = self.options, curves(path, t)
        if alpha > 0 and options.low <= sigma / alpha <= options.high and options.amount > 0:
            wanted = torch.tensor(math.log(alpha / sigma) - math.log1p(options.amount), dtype=torch.float64)
            back = min(float(path.time_of(wanted)), 1.0)
            if back > t:
                spread = options.inflate * math.sqrt(transition_variance(path, t, back))
                x, t = transition_scale(path, t, back) * x + spread * noise.like(x), back
        return self.inner.step(denoise, path, x, t, s, noise)


@dataclass(frozen=True)
class PredictorCorrector:
    """Langevin steps at the time where x is, then the predictor's step to the next.

    Song et al., 2021, arXiv:2011.13456, Algorithms 2-5. ratio: their signal-to-noise ratio r, from which the size of a
    correction follows, 2 (r |z| / |score|)^2. Of the norms their expectations are taken, sqrt(D) and sqrt(D) / sigma,
    and not the batch's: nobody's sample depends on its neighbours. At t = 1 x is pure noise and needs no correction.
    """

    corrections: int = 1
    ratio: float = 0.16
    predictor: Sampler = field(default_factory=Ancestral)

    def begin(self) -> Step:
        return _PredictorCorrector(self, self.predictor.begin())


@dataclass
class _PredictorCorrector:
    options: PredictorCorrector
    predictor: Step

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        sigma = curves(path, t)[1]
        for _ in range(self.options.corrections if t < 1 else 0):
            size = 2 * (self.options.ratio * sigma) ** 2
            x = x - size * denoise(x, shared_time(x, t)).noise / sigma + math.sqrt(2 * size) * noise.like(x)
        return self.predictor.step(denoise, path, x, t, s, noise)


@dataclass(frozen=True)
class AnnealedLangevin(Memoryless):
    """Langevin dynamics at one noise level after the other, x += (a / 2) score + sqrt(a) z with a = size * sigma_t^2.

    Song & Ermon, 2019, arXiv:1907.05600, Algorithm 1, on paths that keep alpha at 1; their epsilon is size * sigma_L^2.
    The last step shows the expected data (Song & Ermon, 2020, arXiv:2006.09011). size: what is nothing but noise
    settles at 1 / (1 - size / 4) of its variance; small steps do not forget the level before in so few (digits after
    a minute, 20 levels: Frechet ratio 52 with 0.1, 2.0 with 1; `benchmarks/diffusion.py --only recipes`).
    """

    inner: int = 5
    size: float = 1.0

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        sigma = curves(path, t)[1]
        for _ in range(self.inner):
            drift = -self.size * sigma / 2 * denoise(x, shared_time(x, t)).noise
            x = x + drift + math.sqrt(self.size) * sigma * noise.like(x)
        return denoise(x, shared_time(x, t)).data if s == 0 else x


@dataclass(frozen=True)
class EulerMaruyama(Memoryless):
    """x_s = x_t + (s - t) (dx/dt - k^2 g^2 score / 2) + k g sqrt(t - s) z: the reverse SDE; k = 0 is Euler's ODE step.

    Song et al., 2021, arXiv:2011.13456, Eq. 6; any `stir` k leaves the marginals as they are, in the limit of small
    steps. The last step shows the expected data.
    """

    stir: float = 1.0

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        alpha, sigma = curves(path, t)
        if s == 0 or alpha < NO_SIGNAL:
            return DDIM(1.0).step(denoise, path, x, t, s, noise)
        prediction = denoise(x, shared_time(x, t))
        spread = self.stir**2 * float(path.drift(torch.tensor(t, dtype=torch.float64))[1])
        slope = velocity(path, prediction, t) + spread / 2 * prediction.noise / sigma
        return x + (s - t) * slope + math.sqrt(spread * (t - s)) * noise.like(x)


@dataclass(frozen=True)
class Jumps(Memoryless):
    """x_s ~ q(x_s | data): the expected data with all the noise of time s anew; one step from t = 1 is a sample.

    Song et al., 2023, arXiv:2303.01469, Algorithm 1, for consistency models, which answer a sample and not a mean. The
    answer counts as data at the smallest noise level, `path.least`.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        data = denoise(x, shared_time(x, t)).data
        return renoised(path, data, path.least, s, noise) if s > path.least else data
