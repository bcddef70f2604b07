"""The Gaussians between two times of a noise path: q(x_t | x_s) and q(x_s | x_t, data), s < t."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.paths import Path


def curves(path: Path, t: float) -> tuple[float, float]:
    """(alpha, sigma) of a time that all samples share, as numbers in double precision."""
    alpha, sigma = path(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


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


def transition_scale(path: Path, s: float, t: float) -> float:
    """alpha_t / alpha_s, the mean of q(x_t | x_s) per x_s."""
    return curves(path, t)[0] / curves(path, s)[0]


def renoised(path: Path, x: Tensor, s: float, t: float, noise: Noise) -> Tensor:
    """x_t ~ q(x_t | x_s) from x at time s < t: the path walked towards the noise."""
    return transition_scale(path, s, t) * x + transition_variance(path, s, t) ** 0.5 * noise.like(x)
