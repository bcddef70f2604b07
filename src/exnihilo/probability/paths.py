"""Noise paths: two curves t -> (alpha, sigma) from the data at t = 0 to noise at t = 1, and their slopes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Halvings of [0, 1] by which a time is found from its signal-to-noise ratio: exact in double precision.
HALVINGS = 60


class Path(nn.Module):
    """x_t = alpha(t) x + sigma(t) noise, t in [0, 1]; alpha falls from 1 or stays, sigma rises from 0.

    The one place where time has a meaning: 0 is data, 1 is noise (flow-matching papers count the other way). `t` and
    the answers are of one shape and type; a curve that loses digits in float32 is computed in float64 and rounded once.
    Sampling begins at N(0, sigma(1)^2), so alpha(1) must be small beside sigma(1).

    least: the smallest t > 0 that training and samplers visit, where the score of the data is still bounded.
    """

    least: float = 1e-3

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t."""
        raise NotImplementedError

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt) at t, so that dx/dt = alpha' data + sigma' noise along the path."""
        raise NotImplementedError

    def half_log_snr(self, t: Tensor) -> Tensor:
        """lambda = log(alpha / sigma), half the log signal-to-noise ratio; falls from infinity at the data."""
        alpha, sigma = self(t)
        return alpha.log() - sigma.log()

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        """The t in [0, 1] whose `half_log_snr` is this: its inverse, by bisection."""
        low, high = torch.zeros_like(half_log_snr, dtype=torch.float64), torch.ones_like(half_log_snr).double()
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            nearer = self.half_log_snr(middle) > half_log_snr  # the data
            low, high = torch.where(nearer, middle, low), torch.where(nearer, high, middle)
        return (low + high) / 2

    def drift(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(f, g^2) of dx = f x dt + g dW, with these marginals: f = alpha' / alpha, g^2 = (sigma^2)' - 2 f sigma^2.

        Song et al., 2021, arXiv:2011.13456, Eq. 5 and 29.
        """
        (alpha, sigma), (alpha_slope, sigma_slope) = self(t), self.slopes(t)
        rate = alpha_slope / alpha
        return rate, 2 * sigma * (sigma_slope - rate * sigma)

    def clock(self, t: Tensor) -> Tensor:
        """What a network is told of the time: about [0, 1], spread so that it can tell apart what matters."""
        return t

    def measure(self, x: Tensor) -> None:
        """Fit to some training data x [N, *shape], before training begins; most paths are the same for all data."""


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


class VariancePreserving(Path):
    """alpha = exp(-t^2 (b1 - b0) / 4 - t b0 / 2), sigma^2 = 1 - alpha^2: DDPM's linear betas in continuous time.

    Song et al., 2021, arXiv:2011.13456, Eq. 33, with its b0 = 0.1 and b1 = 20. alpha(1)^2 is 4.3e-5: small, not zero.
    """

    def __init__(self, first: float = 0.1, last: float = 20.0):
        super().__init__()
        self.first, self.last = first, last

    def _log_alpha(self, t: Tensor) -> Tensor:
        t = t.double()
        return -t.square() * (self.last - self.first) / 4 - t * self.first / 2

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self._log_alpha(t)
        return log_alpha.exp().to(t), (-torch.expm1(2 * log_alpha)).sqrt().to(t)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha, beta = self._log_alpha(t), self.first + (self.last - self.first) * t.double()
        sigma = (-torch.expm1(2 * log_alpha)).sqrt().clamp(min=1e-8)  # the slope at the data is infinite
        return (-beta / 2 * log_alpha.exp()).to(t), (beta / 2 * (2 * log_alpha).exp() / sigma).to(t)


class SubVariancePreserving(VariancePreserving):
    """The same alpha with sigma = 1 - alpha^2: less noise than `VariancePreserving` at every time.

    Song et al., 2021, arXiv:2011.13456, Eq. 29 (right) and appendix B. Caution: sigma is not the root of 1 - alpha^2.
    """

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self._log_alpha(t)
        return log_alpha.exp().to(t), (-torch.expm1(2 * log_alpha)).to(t)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha, beta = self._log_alpha(t), self.first + (self.last - self.first) * t.double()
        return (-beta / 2 * log_alpha.exp()).to(t), (beta * (2 * log_alpha).exp()).to(t)


class VarianceExploding(Path):
    """alpha = 1, sigma^2 = low^2 ((high / low)^(2t) - 1): the data stay, noise grows in equal ratios.

    Song et al., 2021, arXiv:2011.13456, Eq. 30-31, whose SDE has exactly this variance (theirs leaves out the -1, so
    that sigma(0) = low). high: about the largest distance between two examples (Song & Ermon, 2020, arXiv:2006.09011,
    Technique 1), so that N(0, high^2) and the noisy data are alike; None to measure it on the training data.
    """

    least = 1e-5
    high: Tensor

    def __init__(self, low: float = 0.01, high: float | None = 50.0):
        super().__init__()
        self.low, self.measured = low, high is None
        self.register_buffer("high", torch.tensor(high or 50.0, dtype=torch.float64))

    def measure(self, x: Tensor) -> None:
        if self.measured:
            self.high.copy_(largest_distance(x).clamp(min=2 * self.low))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        growth = 2 * t.to(self.high) * (self.high / self.low).log()
        return torch.ones_like(t), (self.low * torch.expm1(growth).sqrt()).to(t)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rate = (self.high / self.low).log()
        growth = (2 * t.to(self.high) * rate).exp()
        sigma = (growth - 1).sqrt().clamp(min=1e-8)
        return torch.zeros_like(t), (self.low * rate * growth / sigma).to(t)


def largest_distance(x: Tensor) -> Tensor:
    """Between two of the examples x [N, *shape]."""
    points = x.flatten(1).double()
    return torch.cdist(points, points).max()


class Plain(Path):
    """alpha = 1, sigma = high * t: time is the noise level itself.

    Karras et al., 2022, arXiv:2206.00364, Table 1, with time divided by their largest sigma, 80. The network is told
    log sigma. low: the smallest noise level visited.
    """

    def __init__(self, low: float = 0.002, high: float = 80.0):
        super().__init__()
        self.low, self.high, self.least = low, high, low / high

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.high * t

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.full_like(t, self.high)

    def clock(self, t: Tensor) -> Tensor:
        return 1 - t.clamp(min=self.least).log() / math.log(self.least)
