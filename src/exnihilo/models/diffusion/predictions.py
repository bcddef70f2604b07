"""What the network is asked for, and how its answer becomes data and noise: the one place of these conversions.

All follow from x_t = alpha data + sigma noise and dx/dt = alpha' data + sigma' noise (Lipman et al., 2023,
arXiv:2210.02747, Eq. 15). Times have the shape [B, 1, ...] that broadcasts with x [B, *shape].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from exnihilo.core import Prediction
from exnihilo.probability.paths import Path

#: The smallest alpha or sigma that is divided by: at the far ends the answer is unknown there, but finite.
TINY = 1e-8


def unscaled(path: Path, t: Tensor) -> Tensor:
    """1: the network sees x_t as it is."""
    return torch.ones_like(t)


class PredictionType(NamedTuple):
    """The target of the regression, from (data, noise, path, t), and its inverse, from (answer, x, path, t).

    slope: |d data / d answer| at (path, t), by which squared errors of one currency become those of another. scale:
    the factor on x_t with which the network sees it.
    """

    target: Callable[[Tensor, Tensor, Path, Tensor], Tensor]
    read: Callable[[Tensor, Tensor, Path, Tensor], Prediction]
    slope: Callable[[Path, Tensor], Tensor]
    scale: Callable[[Path, Tensor], Tensor] = unscaled


def _noise_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return noise


def _read_noise(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction((x - sigma * answer) / alpha.clamp(min=TINY), answer)


def _noise_slope(path: Path, t: Tensor) -> Tensor:
    alpha, sigma = path(t)
    return sigma / alpha.clamp(min=TINY)


def _data_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return data


def _read_data(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction(answer, (x - alpha * answer) / sigma.clamp(min=TINY))


def _velocity_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    alpha_slope, sigma_slope = path.slopes(t)
    return alpha_slope * data + sigma_slope * noise


def _turn(path: Path, t: Tensor) -> Tensor:
    (alpha, sigma), (alpha_slope, sigma_slope) = path(t), path.slopes(t)
    return alpha * sigma_slope - sigma * alpha_slope  # > 0 wherever the signal-to-noise ratio falls


def _read_velocity(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    (alpha, sigma), (alpha_slope, sigma_slope), turn = path(t), path.slopes(t), _turn(path, t)
    return Prediction((sigma_slope * x - sigma * answer) / turn, (alpha * answer - alpha_slope * x) / turn)


def _velocity_slope(path: Path, t: Tensor) -> Tensor:
    return path(t)[1] / _turn(path, t)


def _v_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    alpha, sigma = path(t)
    return alpha * noise - sigma * data


def _read_v(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    power = alpha.square() + sigma.square()
    return Prediction((alpha * x - sigma * answer) / power, (sigma * x + alpha * answer) / power)


def _v_slope(path: Path, t: Tensor) -> Tensor:
    alpha, sigma = path(t)
    return sigma / (alpha.square() + sigma.square())


def _score_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return -noise / path(t)[1].clamp(min=TINY)


def _read_score(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction((x + sigma.square() * answer) / alpha.clamp(min=TINY), -sigma * answer)


def _score_slope(path: Path, t: Tensor) -> Tensor:
    alpha, sigma = path(t)
    return sigma.square() / alpha.clamp(min=TINY)


#: The noise (Ho et al., 2020). Says nothing of the data where alpha is near 0.
predict_noise = PredictionType(_noise_target, _read_noise, _noise_slope)
#: The clean data. Says nothing of the noise where sigma is near 0.
predict_data = PredictionType(_data_target, _read_data, unscaled)
#: dx/dt along the path (flow matching). Well posed at both ends.
predict_velocity = PredictionType(_velocity_target, _read_velocity, _velocity_slope)
#: v = alpha noise - sigma data (Salimans & Ho, 2022, arXiv:2202.00512, Section 4). Well posed at both ends.
predict_v = PredictionType(_v_target, _read_v, _v_slope)
#: The gradient of the log-density of x_t, -noise / sigma (Vincent, 2011; Tweedie's formula reads it).
predict_score = PredictionType(_score_target, _read_score, _score_slope)


def scaled_noise(deviation: float = 1.0) -> PredictionType:
    """The noise, from x_t divided by its own scale, sqrt(alpha^2 deviation^2 + sigma^2): for paths that explode.

    The score network of Song et al., 2021, arXiv:2011.13456, whose output over sigma is the score; deviation: that of
    the data.
    """

    def scale(path: Path, t: Tensor) -> Tensor:
        alpha, sigma = path(t)
        return 1 / (alpha.square() * deviation**2 + sigma.square()).sqrt()

    return PredictionType(_noise_target, _read_noise, _noise_slope, scale)


def preconditioned(deviation: float = 0.5) -> PredictionType:
    """data = c_skip x + c_out answer, from c_in x: input and target have variance 1 at every noise level.

    Karras et al., 2022, arXiv:2206.00364, Eq. 7 and Table 1, for any path by s = sigma / alpha and x / alpha:
    c_skip = d^2 / (s^2 + d^2), c_out = s d / sqrt(s^2 + d^2), c_in = 1 / sqrt(s^2 + d^2). deviation d: of the data.
    """

    def parts(path: Path, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip and c_in for x_t itself, and c_out; none divides by alpha."""
        alpha, sigma = path(t)
        power = sigma.square() + (alpha * deviation).square()
        return alpha * deviation**2 / power, 1 / power.sqrt(), sigma * deviation / power.sqrt()

    def target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
        (alpha, sigma), (skip, _, out) = path(t), parts(path, t)
        return (data - skip * (alpha * data + sigma * noise)) / out.clamp(min=TINY)

    def read(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
        skip, _, out = parts(path, t)
        return _read_data(skip * x + out * answer, x, path, t)

    return PredictionType(target, read, lambda path, t: parts(path, t)[2], lambda path, t: parts(path, t)[1])
