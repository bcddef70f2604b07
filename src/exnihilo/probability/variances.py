"""How much noise an ancestral step adds: a slot of its own, since the mean of the step does not depend on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from exnihilo.core import OptionError, Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.transitions import curves, posterior_variance, transition_variance

#: The smallest alpha that is divided by.
TINY = 1e-8
#: The variance of the noise of a step, given (path, s, t, prediction): a number, or a tensor that broadcasts with x.
Variance = Callable[[Path, float, float, Prediction], Tensor | float]


def small(path: Path, s: float, t: float, prediction: Prediction) -> float:
    """That of q(x_s | x_t, data): right if the data were one point."""
    return posterior_variance(path, s, t)


def large(path: Path, s: float, t: float, prediction: Prediction) -> float:
    """That of q(x_t | x_s), beta for neighbours in a table: right if the data were N(0, 1)."""
    return transition_variance(path, s, t) if s > 0 else 0.0


def learned(path: Path, s: float, t: float, prediction: Prediction) -> Tensor | float:
    """Between the two in its logarithm, as far as the network says.

    Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 15. Of a step over several levels the bounds are those of that step.
    """
    if prediction.fraction is None:
        raise OptionError("This model has not learned a variance. Use solver=ancestral, or train improved_ddpm.")
    if s == 0:
        return 0.0
    return learned_log_variance(path, s, t, prediction.fraction).exp()


def learned_log_variance(path: Path, s: float, t: float, fraction: Tensor) -> Tensor:
    """fraction log q(x_t | x_s)'s variance + (1 - fraction) log q(x_s | x_t, data)'s, s > 0."""
    most, least = math.log(transition_variance(path, s, t)), math.log(posterior_variance(path, s, t))
    return fraction * most + (1 - fraction) * least


@dataclass(frozen=True)
class Analytic:
    """The variance that is best for a given network: posterior_variance + c^2 Cov[data | x_t], c the mean's per data.

    Bao et al., 2022, arXiv:2201.06503, Eq. 8 and 9: Cov = (sigma_t / alpha_t)^2 E|noise - expected noise|^2, averaged
    over entries, so it needs no training but a measurement. Their 1 - E|expected noise|^2 is the same of an exact mean;
    of any other it is the error that counts (Bao et al., 2022, arXiv:2206.07309). errors: E|...|^2 / D at some rising
    shares of noise, sigma / (alpha + sigma), read between them in straight lines. largest: of a variance of the data,
    by which Cov is kept (1 for data in [-1, 1]).
    """

    shares: Sequence[float]
    errors: Sequence[float]
    largest: float = math.inf

    def __call__(self, path: Path, s: float, t: float, prediction: Prediction) -> float:
        if s == 0:
            return 0.0  # the last step shows the mean
        return self.exact(path, s, t)

    def exact(self, path: Path, s: float, t: float) -> float:
        """The same, with the step to the data in it: samples of Gaussian data then have exactly their variance."""
        (alpha_t, sigma_t), (alpha_s, _) = curves(path, t), curves(path, s)
        error = float(np.interp(sigma_t / (alpha_t + sigma_t), self.shares, self.errors))
        covariance = (sigma_t / max(alpha_t, TINY)) ** 2 * error
        of_data = alpha_s * transition_variance(path, s, t) / sigma_t**2
        return posterior_variance(path, s, t) + of_data**2 * min(covariance, self.largest)
