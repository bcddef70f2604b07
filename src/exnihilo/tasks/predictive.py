"""How good a prediction is that comes as draws: its score, whether its intervals hold what they promise."""

from __future__ import annotations

import numpy as np

from exnihilo.core import OptionError

FEWEST = 20  # draws for an interval of 90 %


def check_draws(count: int, name: str) -> None:
    """An OptionError where an interval of 90 % cannot be read off so few draws."""
    if count < FEWEST:
        raise OptionError(f"{name}={count} is not allowed. Intervals of 90 % take {FEWEST} or more; default 100.")


def crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[...] the continuous ranked probability score of draws [n, ...], n >= 2; in the unit of the values, 0 is best.

    E|X - y| - E|X - X'| / 2 (Gneiting & Raftery, 2007, JASA 102, Eq. 21), with the second mean over pairs of different
    draws: the fair score (Ferro, 2014, QJRMS 140), whose mean does not depend on n. Of one answer without spread it is
    the absolute error. Caution: being unbiased, it can be negative for a single value.
    """
    n = len(draws)
    weight = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *[1] * truth.ndim)
    gaps = 2 * (weight * np.sort(draws, axis=0)).sum(axis=0) / (n * (n - 1))  # mean |X_i - X_j|, i != j
    return np.asarray(np.abs(draws - truth).mean(axis=0) - gaps / 2)


def quantiles(draws: np.ndarray, shares: list[float]) -> np.ndarray:
    """[len(shares), ...] of draws [n, ...]: a further draw lies below the one of share p with probability p exactly."""
    return np.quantile(draws, shares, axis=0, method="weibull")


def inside(draws: np.ndarray, truth: np.ndarray, share: float) -> np.ndarray:
    """[...] whether the truth lies in the central interval that holds a further draw with probability `share`."""
    low, high = quantiles(draws, [(1 - share) / 2, (1 + share) / 2])
    return np.asarray((low <= truth) & (truth <= high))
