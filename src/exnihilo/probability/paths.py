"""Noise paths: two curves t -> (alpha, sigma) from the data at t = 0 to noise at t = 1, and their slopes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Path(nn.Module):
    """x_t = alpha(t) x + sigma(t) noise, t in [0, 1]; alpha falls from 1, sigma rises from 0.

    The one place where time has a meaning: 0 is data, 1 is noise (flow-matching papers count the other way). `t` and
    the answers are of one shape and type; a curve that loses digits in float32 is computed in float64 and rounded once.
    """

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t."""
        raise NotImplementedError

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt) at t, so that dx/dt = alpha' data + sigma' noise along the path."""
        raise NotImplementedError


class Straight(Path):
    """alpha = 1 - t, sigma = t: every example travels to its noise in a straight line at constant speed.

    Lipman et al., 2023, arXiv:2210.02747, Eq. 20-22 with sigma_min = 0 and time reversed; Liu et al., 2022,
    arXiv:2209.03003.
    """

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)


class Cosine(Path):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): variance is preserved, the speed constant on a quarter circle.

    Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 17 without its offset, in continuous time. alpha(1) is 0 up to
    rounding, so a network on it must not predict the noise.
    """

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t * (math.pi / 2)
        return angle.cos(), angle.sin()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self(t)
        return -math.pi / 2 * sigma, math.pi / 2 * alpha


class Discrete(Path):
    """alpha^2 = prod_{j <= i} (1 - beta_j), sigma^2 = 1 - alpha^2 at t = i / T, for i = 0 ... T.

    Ho et al., 2020, arXiv:2006.11239, Eq. 4. One table `signal` of alpha^2 whose index 0 is the clean data (1), so no
    shifted copy of it exists. Between the indices alpha^2 is interpolated linearly. betas: [T], float64.
    """

    signal: Tensor

    def __init__(self, betas: Tensor):
        super().__init__()
        signal = torch.cat([betas.new_ones(1), (1 - betas).cumprod(dim=0)]).double()
        self.register_buffer("signal", signal, persistent=False)

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
