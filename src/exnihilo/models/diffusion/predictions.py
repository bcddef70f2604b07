"""What the network is asked for, and how its answer becomes data and noise: the one place of these conversions.

All follow from x_t = alpha data + sigma noise and dx/dt = alpha' data + sigma' noise (Lipman et al., 2023,
arXiv:2210.02747, Eq. 15). Times have the shape [B, 1, ...] that broadcasts with x [B, *shape].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from exnihilo.core import Prediction
from exnihilo.probability.paths import Path

#: The smallest alpha or sigma that is divided by: at the far ends the answer is unknown there, but finite.
TINY = 1e-8


class PredictionType(NamedTuple):
    """The target of the regression, from (data, noise, path, t), and its inverse, from (answer, x, path, t)."""

    target: Callable[[Tensor, Tensor, Path, Tensor], Tensor]
    read: Callable[[Tensor, Tensor, Path, Tensor], Prediction]


def _noise_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return noise


def _read_noise(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction((x - sigma * answer) / alpha.clamp(min=TINY), answer)


def _data_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return data


def _read_data(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction(answer, (x - alpha * answer) / sigma.clamp(min=TINY))


def _velocity_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    alpha_slope, sigma_slope = path.slopes(t)
    return alpha_slope * data + sigma_slope * noise


def _read_velocity(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    (alpha, sigma), (alpha_slope, sigma_slope) = path(t), path.slopes(t)
    turn = alpha * sigma_slope - sigma * alpha_slope  # > 0 wherever the signal-to-noise ratio falls
    return Prediction((sigma_slope * x - sigma * answer) / turn, (alpha * answer - alpha_slope * x) / turn)


def _score_target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
    return -noise / path(t)[1].clamp(min=TINY)


def _read_score(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
    alpha, sigma = path(t)
    return Prediction((x + sigma.square() * answer) / alpha.clamp(min=TINY), -sigma * answer)


#: The noise (Ho et al., 2020). Says nothing of the data where alpha is near 0.
predict_noise = PredictionType(_noise_target, _read_noise)
#: The clean data. Says nothing of the noise where sigma is near 0.
predict_data = PredictionType(_data_target, _read_data)
#: dx/dt along the path (flow matching). Well posed at both ends.
predict_velocity = PredictionType(_velocity_target, _read_velocity)
#: The gradient of the log-density of x_t, -noise / sigma (Vincent, 2011; Tweedie's formula reads it).
predict_score = PredictionType(_score_target, _read_score)
