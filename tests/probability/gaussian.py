"""The exact denoiser of Gaussian data, with which every sampler has a known answer (methods/diffusion.md, 2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import Denoise
from exnihilo.probability.transitions import curves


def exact_denoiser(path: Path, mean: float, variance: float) -> Denoise:
    """E[data | x_t] and E[noise | x_t] where the data are N(mean, variance)."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        offset = (x - alpha * mean) / (alpha.square() * variance + sigma.square())
        return Prediction(mean + alpha * variance * offset, sigma * offset)

    return denoise


def flow_solution(path: Path, mean: float, variance: float, x: Tensor, t: float, s: float) -> Tensor:
    """Where the probability-flow ODE leads from x at time t to time s, exactly."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = curves(path, t), curves(path, s)
    ratio = (alpha_s**2 * variance + sigma_s**2) / (alpha_t**2 * variance + sigma_t**2)
    return alpha_s * mean + math.sqrt(ratio) * (x - alpha_t * mean)


class Fixed(Noise):
    """Noise of one chosen value."""

    def __init__(self, value: Tensor | float):
        super().__init__(0, 1)
        self.value = value

    def like(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.value).to(x).expand_as(x)
