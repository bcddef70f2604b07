"""What a score means: how rare it is among normal examples held out, and how well it ranks anomalies above them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, OptionError
from exnihilo.evaluation.coverage import wilson
from exnihilo.evaluation.value import Value


@dataclass(frozen=True)
class Rareness:
    """p(s) = (1 + #{held-out scores >= s}) / (1 + n): how often a normal example scores at least s.

    Of a further normal example p is uniform on 1/(n+1) ... 1, whatever the model (Vovk et al., 2005, conformal
    prediction; Laxhammar & Falkman, 2011), so flagging p <= a raises false alarms at a rate of at most a. It holds on
    average over the choice of the held-out examples, for normal examples of the same kind as these. "One in N" is 1/p;
    beyond n + 1 nothing can be said.
    """

    held: Tensor  # [n] their scores, ascending

    @classmethod
    def of(cls, scores: Tensor) -> Rareness:
        """Of the scores of normal examples that training has not seen."""
        if not len(scores):
            raise DataError("No normal example is held out, so no score can be called rare. Bring a validation split.")
        return cls(scores.double().sort().values)

    @property
    def n(self) -> int:
        """Held-out examples."""
        return len(self.held)

    def share(self, scores: Tensor) -> Tensor:
        """[N] p of every score."""
        below = torch.searchsorted(self.held, scores.double().contiguous(), right=False)
        return (1 + self.n - below).double() / (1 + self.n)

    def words(self, score: float) -> str:
        """`1 in 12`, or `rarer than 1 in n + 1` where no held-out example scores as high."""
        one_in = 1 / float(self.share(torch.tensor([score], dtype=torch.float64)))
        if one_in > self.n:
            return f"rarer than 1 in {self.n + 1}"
        return f"1 in {one_in:.3g}"

    def threshold(self, false_alarms: float) -> tuple[float, float]:
        """(t, a): scores above t are flagged, and normal ones are with a probability of at most a <= false_alarms.

        Where n is too small for the rate asked, a is the smallest that can be promised, 1 / (n + 1).
        """
        if not 0 < false_alarms < 1:
            raise OptionError(
                f"false_alarms={false_alarms} is not allowed. It takes a number above 0 and below 1; default 0.01."
            )
        k = max(1, math.floor(false_alarms * (self.n + 1) + 1e-9))
        return float(self.held[self.n - k]), k / (self.n + 1)


def auroc(normal: Tensor, anomalous: Tensor, protocol: str) -> Value:
    """P(s_a > s_n) + P(s_a = s_n) / 2 with its 95 % interval.

    Mann & Whitney, 1947; the interval is Wilson's way with the variance of Hanley & McNeil, 1982 (Newcombe, 2006,
    Part 2, method 5): it has a width also where the ranking is perfect. Infinite scores count by their rank.
    """
    m, n = len(anomalous), len(normal)
    rank = torch.from_numpy(_ranks(torch.cat([anomalous, normal])))
    value = float((rank[:m].sum() - m * (m + 1) / 2) / (m * n))
    low, high = _solve(value, m, n, 0.0, value), _solve(value, m, n, value, 1.0)
    return Value(value, low, high, m + n, f"area under the ROC curve | {protocol}")


def _solve(value: float, m: int, n: int, low: float, high: float) -> float:
    """The area between low and high from which `value` is 1.96 standard errors away."""
    downward = high == value
    for _ in range(60):
        middle = (low + high) / 2
        beyond = abs(value - middle) > 1.959964 * _standard_error(middle, m, n)
        if beyond == downward:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _standard_error(area: float, m: int, n: int) -> float:
    half = (m + n) / 2 - 1
    pairs = 1 + half * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(max(area * (1 - area) * pairs, 0.0) / (m * n))


def average_precision(normal: Tensor, anomalous: Tensor, protocol: str) -> Value:
    """sum_k (R_k - R_k-1) P_k over the thresholds, step by step (scikit-learn), with its 95 % interval.

    The interval is that of a share among the anomalies (Boyd et al., 2013, the binomial one, in Wilson's form). Random
    scores give the share of anomalies, so figures of different shares are not comparable.
    """
    from sklearn.metrics import average_precision_score

    ranks = _ranks(torch.cat([normal, anomalous]))
    truth = np.concatenate([np.zeros(len(normal)), np.ones(len(anomalous))])
    value = float(average_precision_score(truth, ranks))
    low, high = wilson(value, len(anomalous))
    return Value(value, low, high, len(truth), f"average precision | {protocol}")


def _ranks(scores: Tensor) -> np.ndarray:
    """Ranks from 1, equal scores sharing their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(scores.double().numpy()), dtype=np.float64)
