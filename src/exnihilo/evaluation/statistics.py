"""What is kept of a stream of features: moments and a fair sample. Both merge, in any order, over any number of parts.

A million samples need no more memory than ten thousand: a batch is reduced to statistics and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import Noise


@dataclass(frozen=True)
class Gaussian:
    """Count, mean [D] and scatter [D, D] = sum (x - mean)(x - mean)^T of features, in float64.

    Merged by Chan, Golub & LeVeque, 1979 (Stanford STAN-CS-79-773, Eq. 2.1b): with d the difference of the means,
    scatter = A + B + d d^T n_a n_b / n. Raw second moments would lose log10(mean^2 / variance) digits.
    """

    n: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """The moments of a batch [N, D]."""
        rows = features.detach().double()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merge(self, other: Gaussian) -> Gaussian:
        """The moments of both parts together."""
        n = self.n + other.n
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.n / n)
        scatter = self.scatter + other.scatter + torch.outer(shift, shift) * (self.n * other.n / n)
        return Gaussian(n, mean, scatter)

    @property
    def covariance(self) -> Tensor:
        """[D, D], unbiased: scatter / (n - 1). Zero for a single example."""
        return self.scatter / max(self.n - 1, 1)


@dataclass(frozen=True)
class Reservoir:
    """A fair sample of at most `keep` rows: those whose hashed index is smallest.

    Which rows are kept depends on (seed, index) alone, not on batches, order or processes, so merging is exact and
    the rows, sorted by their hash, stand in random order. Every index may occur once only.
    """

    keep: int
    keys: Tensor  # [k] hashes, ascending
    index: Tensor  # [k] of the examples in their stream
    rows: Tensor  # [k, D]

    @classmethod
    def of(cls, rows: Tensor, index: Iterable[int], keep: int = 10_000, seed: int = 0) -> Reservoir:
        """The fair sample of a batch [N, D] whose examples have the given places in the stream."""
        places = torch.as_tensor(list(index), dtype=torch.int64)
        keys = Noise(seed, places.tolist()).keys
        return cls(keep, keys, places, rows.detach())._smallest()

    def merge(self, other: Reservoir) -> Reservoir:
        """The fair sample of both parts together."""
        joined = Reservoir(
            min(self.keep, other.keep),
            torch.cat([self.keys, other.keys]),
            torch.cat([self.index, other.index]),
            torch.cat([self.rows, other.rows]),
        )
        return joined._smallest()

    def _smallest(self) -> Reservoir:
        order = self.keys.argsort()[: self.keep]
        return Reservoir(self.keep, self.keys[order], self.index[order], self.rows[order])


@dataclass(frozen=True)
class FeatureStatistics:
    """All that the distances need to know of a set of examples."""

    gaussian: Gaussian
    reservoir: Reservoir

    @classmethod
    def of(cls, features: Tensor, start: int = 0, *, keep: int = 10_000, seed: int = 0) -> FeatureStatistics:
        """Of a batch [N, D] whose first example has place `start` in the stream."""
        index = range(start, start + len(features))
        return cls(Gaussian.of(features), Reservoir.of(features, index, keep, seed))

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Of both parts together."""
        return FeatureStatistics(self.gaussian.merge(other.gaussian), self.reservoir.merge(other.reservoir))

    @property
    def n(self) -> int:
        """Examples seen."""
        return self.gaussian.n

    @property
    def rows(self) -> Tensor:
        """[k, D] the kept features in float64, in an order that is random but fixed."""
        return self.reservoir.rows.double()


def collect(parts: Iterable[Tensor], *, keep: int = 10_000, seed: int = 0) -> FeatureStatistics:
    """The statistics of a stream of feature batches [N, D]; one batch is in memory at a time."""
    total: FeatureStatistics | None = None
    for features in parts:
        part = FeatureStatistics.of(features, total.n if total else 0, keep=keep, seed=seed)
        total = part if total is None else total.merge(part)
    if total is None:
        raise ValueError("statistics of no examples")
    return total
