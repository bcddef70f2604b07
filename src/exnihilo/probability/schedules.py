"""Noise in discrete levels: the tables of betas that papers give, and the path between their levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.probability.paths import Path


class Levels(Path):
    """alpha^2 = signal[i], sigma^2 = 1 - alpha^2 at t = i / T, for i = 0 ... T; in between alpha^2 is interpolated.

    Ho et al., 2020, arXiv:2006.11239, Eq. 4. One table `signal` of alpha^2 in float64 whose index 0 is the clean data
    (1), so no shifted copy of it exists.
    """

    signal: Tensor

    @property
    def steps(self) -> int:
        """T, the number of noise levels above the data."""
        return len(self.signal) - 1

    def _segment(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """alpha^2 at t in float64, and at the indices below and above it."""
        place = t.to(self.signal) * self.steps
        below = place.long().clamp(0, self.steps - 1)
        low, high = self.signal[below], self.signal[below + 1]
        return torch.lerp(low, high, place - below), low, high

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, _, _ = self._segment(t)
        return signal.sqrt().to(t), (1 - signal).sqrt().to(t)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, low, high = self._segment(t)
        slope = (high - low) * self.steps
        sigma = (1 - signal).sqrt().clamp(min=1e-8)  # the slope at the data is infinite; this is enough of it
        return (slope / (2 * signal.sqrt())).to(t), (-slope / (2 * sigma)).to(t)


class Discrete(Levels):
    """The levels of a table of betas [T], float64: signal[i] = prod_{j <= i} (1 - beta_j)."""

    def __init__(self, betas: Tensor):
        super().__init__()
        signal = torch.cat([betas.new_ones(1), (1 - betas).cumprod(dim=0)]).double()
        self.register_buffer("signal", signal, persistent=False)
        self.least = 1 / len(betas)


def linear_betas(steps: int = 1000) -> Tensor:
    """[T] from 1e-4 to 0.02 in equal steps (Ho et al., 2020, section 4), scaled by 1000 / T for other T.

    The last level keeps a signal of alpha^2 = 4.0e-5: small, not zero.
    """
    return (torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)).clamp(max=0.999)


def cosine_betas(steps: int = 1000, offset: float = 0.008) -> Tensor:
    """[T] with alpha^2 = f(i/T) / f(0), f(u) = cos^2(pi/2 (u + offset) / (1 + offset)), each beta at most 0.999.

    Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 17. The last alpha is 5e-5, where data read from predicted noise
    are amplified 20,000 times: samplers clip them.
    """
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = ((u + offset) / (1 + offset) * (math.pi / 2)).cos().square()
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def scaled_linear_betas(steps: int = 1000) -> Tensor:
    """[T] whose roots rise in equal steps from those of 8.5e-4 to 0.012 (Rombach et al., 2022, arXiv:2112.10752).

    The last alpha^2 is 4.7e-3, so much of the picture's brightness that none much darker or lighter is ever sampled.
    """
    return torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64).square()


def sigmoid_betas(steps: int = 1000, first: float = -3.0, last: float = 3.0, temperature: float = 1.0) -> Tensor:
    """[T] with alpha^2 = (S(last) - S(u)) / (S(last) - S(first)), S(u) = sigmoid(u / temperature).

    u from first to last; betas at most 0.999. Jabri et al., 2022, arXiv:2212.11972, Algorithm 3.
    """
    u = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    start, end = (1 / (1 + math.exp(-edge / temperature)) for edge in (first, last))
    signal = ((end - torch.sigmoid(u / temperature)) / (end - start)).clamp(min=1e-9)
    return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
