"""Noise paths that training changes: by gradient, or by a look at the data before it begins."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from exnihilo.probability.paths import Path, largest_distance
from exnihilo.probability.schedules import Levels


class LearnedBetas(Levels):
    """Levels whose betas are learned, all but the first: beta_i = sigmoid(b_i), from b_i = logit(1 / (T - i + 1)) on.

    Sohl-Dickstein et al., 2015, arXiv:1503.03585, section 2.4.1: those first values take away an equal share of the
    signal at every level (their last, which would be 1, is 1/2 here). beta_1 stays, or the density of the training
    examples would grow without bound. Gradients pass through x_t, its noise held.
    """

    def __init__(self, steps: int = 100, first: float = 1e-4):
        super().__init__()
        even = 1 / torch.linspace(steps, 2, steps)[1:]
        self.first, self.least = first, 1 / steps
        self.logits = nn.Parameter(even.logit())

    @property
    def signal(self) -> Tensor:  # type: ignore[override]
        kept = (1 - self.logits.double().sigmoid()).cumprod(dim=0) * (1 - self.first)
        return torch.cat([kept.new_tensor([1.0, 1 - self.first]), kept])


class LearnedSNR(Path):
    """alpha^2 = sigmoid(-gamma(t)), sigma^2 = sigmoid(gamma(t)), with gamma = -log SNR rising from `ends` to end.

    Kingma et al., 2021, arXiv:2107.00630, section 4 and appendix H: gamma is a monotone network rescaled to its two
    ends, which are learned for themselves. The bound knows the ends only; what lies between, `shape`, changes how much
    its estimates vary. `least` is their time 0, where gamma is smallest; below it sigma falls straight to 0. The clock
    is gamma itself, scaled to [0, 1], so the network is told the noise and not the time.
    """

    def __init__(self, first: float = -13.3, last: float = 5.0, hidden: int = 64):
        super().__init__()
        self.ends = nn.ParameterList([torch.tensor(first), torch.tensor(last)])
        self.shape = MonotoneNetwork(hidden)

    def _unit(self, t: Tensor) -> Tensor:
        """Time as their paper counts it, 0 at `least`."""
        return ((t - self.least) / (1 - self.least)).clamp(min=0)

    def clock(self, t: Tensor) -> Tensor:
        return self.shape(self._unit(t))[0]

    def gamma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-log SNR and its slope at t >= least."""
        share, slope = self.shape(self._unit(t))
        first, last = (end.to(t) for end in self.ends)
        return first + (last - first) * share, (last - first) * slope / (1 - self.least)

    def half_log_snr(self, t: Tensor) -> Tensor:
        return torch.where(t >= self.least, -self.gamma(t)[0] / 2, super().half_log_snr(t))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        gamma, _ = self.gamma(t)
        sigma = gamma.sigmoid().sqrt() * (t / self.least).clamp(max=1)
        return torch.where(t >= self.least, (-gamma).sigmoid(), 1 - sigma.square()).sqrt(), sigma

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), (gamma, slope) = self(t), self.gamma(t)
        within = t >= self.least
        sigma_slope = torch.where(within, sigma * alpha.square() * slope / 2, gamma.sigmoid().sqrt() / self.least)
        return torch.where(within, -alpha * sigma.square() * slope / 2, -sigma * sigma_slope / alpha), sigma_slope


class MonotoneNetwork(nn.Module):
    """A rising function on [0, 1] with the ends 0 and 1, and its slope: a line and sigmoids, all weights positive.

    Kingma et al., 2021, arXiv:2107.00630, appendix H. Begins straight, half by the line and half by the sigmoids, whose
    middles are spread evenly.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.line = nn.Parameter(torch.tensor(0.0))
        self.steep = nn.Parameter(torch.full((hidden,), 16.0))
        self.middle = nn.Parameter((torch.arange(hidden) + 0.5) / hidden)
        self.weight = nn.Parameter(torch.full((hidden,), -math.log(hidden)))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t of any shape -> value and slope of that shape."""
        (low, high), _ = self._rise(t.new_tensor([0.0, 1.0]))
        value, slope = self._rise(t)
        return (value - low) / (high - low), slope / (high - low)

    def _rise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        steep, weight = softplus(self.steep.to(t)), self.weight.to(t).exp()
        bend = (steep * (t[..., None] - self.middle.to(t))).sigmoid()  # [..., hidden]
        line = self.line.to(t).exp()
        slope = (bend * (1 - bend) * steep * weight).sum(dim=-1)  # no matrix product, which autocast would round
        return line * t + (bend * weight).sum(dim=-1), line + slope


class NoiseLadder(Path):
    """alpha = 1, sigma = high (low / high)^((1 - t) T / (T - 1)) at t = i / T: T noise levels in equal ratios.

    Song & Ermon, 2019, arXiv:1907.05600, section 4.1. high: the largest distance between two of the training data
    (Song & Ermon, 2020, arXiv:2006.09011, Technique 1), so that one may get from any example to any other. Below the
    first level sigma falls straight to 0.
    """

    high: Tensor

    def __init__(self, levels: int, low: float = 0.01, high: float = 50.0):
        super().__init__()
        self.low, self.least = low, 1 / levels
        self.register_buffer("high", torch.tensor(high, dtype=torch.float64))

    def _rate(self) -> Tensor:
        return (self.high / self.low).log() / (1 - self.least)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        exact = t.to(self.high)
        sigma = self.high * (self._rate() * (exact.clamp(min=self.least) - 1)).exp()
        return torch.ones_like(t), (sigma * (exact / self.least).clamp(max=1)).to(t)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rising = self._rate() * self(t.to(self.high))[1]
        return torch.zeros_like(t), torch.where(t < self.least, self.low / self.least, rising).to(t)

    def measure(self, x: Tensor) -> None:
        self.high.copy_(largest_distance(x).clamp(min=2 * self.low))
