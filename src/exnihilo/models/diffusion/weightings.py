"""How hard the training looks at each time: factors on the squared error of the network's answer.

Papers state weights in the currency of what they predict. Here each is a function of the time for the error of the
expected *data*, w(t) |data - expected|^2, and becomes that of the answer by the slope of data per answer, so that one
definition serves every prediction type (Kingma & Gao, 2023, arXiv:2303.00848). SNR = alpha^2 / sigma^2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from exnihilo.models.diffusion.predictions import TINY, PredictionType
from exnihilo.probability.paths import Path

#: path, t [B, 1, ...], prediction type -> factor on the squared error of the network's answer, of the shape of t.
Weighting = Callable[[Path, Tensor, PredictionType], Tensor]


def evenly(path: Path, t: Tensor, prediction: PredictionType) -> Tensor:
    """Weight 1 on the error of the answer itself: DDPM's simple loss, flow matching's."""
    return torch.ones_like(t)


def snr(path: Path, t: Tensor) -> Tensor:
    """The signal-to-noise ratio, in float64 and finite."""
    alpha, sigma = path(t.double())
    return (alpha / sigma.clamp(min=TINY)).square().clamp(min=TINY**2)


def of_data(weight: Callable[[Path, Tensor], Tensor]) -> Weighting:
    """The weighting with this factor on the squared error of the data."""

    def weighting(path: Path, t: Tensor, prediction: PredictionType) -> Tensor:
        exact = t.double()
        return (weight(path, exact) * prediction.slope(path, exact).square()).to(t)

    return weighting


#: SNR: weight 1 on the noise, whatever is predicted (Ho et al., 2020, arXiv:2006.11239, Eq. 14).
simple = of_data(snr)

#: max(SNR, 1): of progressive distillation (Salimans & Ho, 2022, arXiv:2202.00512, Section 4).
truncated_snr = of_data(lambda path, t: snr(path, t).clamp(min=1.0))


def _bound(path: Path, t: Tensor) -> Tensor:
    (alpha, sigma), (alpha_slope, sigma_slope) = path(t), path.slopes(t)
    sigma = sigma.clamp(min=TINY)
    return alpha * (alpha * sigma_slope - sigma * alpha_slope) / sigma**3


#: -dSNR/dt / 2: the variational bound (Kingma et al., 2021, arXiv:2107.00630, Eq. 17).
likelihood = of_data(_bound)


def min_snr(most: float = 5.0) -> Weighting:
    """min(SNR, most): noise levels stop to compete (Hang et al., 2023, arXiv:2303.09556, Eq. 7)."""
    return of_data(lambda path, t: snr(path, t).clamp(max=most))


def p2(k: float = 1.0, power: float = 1.0) -> Weighting:
    """SNR / (k + SNR)^power: less for what is imperceptible (Choi et al., 2022, arXiv:2204.00227, Eq. 8)."""
    return of_data(lambda path, t: snr(path, t) / (k + snr(path, t)) ** power)


def unit_variance(deviation: float = 0.5) -> Weighting:
    """(s^2 + d^2) / (s d)^2 with s = sigma / alpha: weight 1 on the preconditioned answer.

    Karras et al., 2022, arXiv:2206.00364, Table 1; deviation d: of the data.
    """
    return of_data(lambda path, t: snr(path, t) + 1 / deviation**2)
