"""The exact denoiser of Gaussian data, with which every sampler has a known answer (methods/diffusion.md, 2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import Denoise, curves


class VariancePreserving(Path):
    """The continuous limit of DDPM's linear betas: alpha = exp(-t^2 (b1 - b0) / 4 - t b0 / 2), b0 = 0.1, b1 = 20."""

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = -t.square() * 19.9 / 4 - t * 0.05
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), rate = self(t), 0.1 + 19.9 * t
        return -rate / 2 * alpha, rate / 2 * alpha.square() / sigma

    @staticmethod
    def time_of(half_log_snr: float) -> float:
        """t with log(alpha / sigma) = half_log_snr: a quadratic equation in t."""
        log_alpha = -0.5 * math.log1p(math.exp(-2 * half_log_snr))
        return (-0.05 + math.sqrt(0.05**2 - 19.9 * log_alpha)) / (19.9 / 2)


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
