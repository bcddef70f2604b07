"""Where samples come from: what a generator is given, made of standard normal numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot


class Latent(Protocol):
    """z = latent(e) with e ~ N(0, I): the same map of chance in training and in sampling."""

    @property
    def size(self) -> int:
        """Numbers of chance: e [B, size]."""
        ...

    @property
    def width(self) -> int:
        """Numbers that the generator reads: z [B, width]."""
        ...

    def __call__(self, e: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Normal:
    """z ~ N(0, I)."""

    size: int

    @property
    def width(self) -> int:
        """As many as there are."""
        return self.size

    def __call__(self, e: Tensor) -> Tensor:
        return e


@dataclass(frozen=True)
class Uniform:
    """z ~ U(-1, 1), each number by itself: the distribution function of the normal, stretched."""

    size: int

    @property
    def width(self) -> int:
        """As many as there are."""
        return self.size

    def __call__(self, e: Tensor) -> Tensor:
        return 2 * torch.special.ndtr(e) - 1


@dataclass(frozen=True)
class Codes:
    """z = [one-hot categories, continuous numbers, noise]: parts that may take on a meaning, and the rest.

    Each category is uniform over its values and each continuous number over [-1, 1], by the distribution function of
    a normal number; the noise is N(0, I). Chen et al., 2016, arXiv:1606.03657, Section 4.
    """

    categories: tuple[int, ...]  # values of each
    continuous: int
    noise: int

    @property
    def size(self) -> int:
        """One number of chance for each category, continuous number and number of noise."""
        return len(self.categories) + self.continuous + self.noise

    @property
    def width(self) -> int:
        """A category takes as many places as it has values."""
        return sum(self.categories) + self.continuous + self.noise

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part stands in z: `category 0`, ..., `continuous`, `noise`."""
        names = [*(f"category {number}" for number in range(len(self.categories))), "continuous", "noise"]
        ends = accumulate((*self.categories, self.continuous, self.noise), initial=0)
        return {name: slice(*ends) for name, ends in zip(names, pairwise(ends), strict=True)}

    @property
    def names(self) -> tuple[str, ...]:
        """[width] of every place: `category 0 = 3`, `continuous 1`, `noise 12`."""
        categories = [f"category {n} = {k}" for n, values in enumerate(self.categories) for k in range(values)]
        rest = [("continuous", self.continuous), ("noise", self.noise)]
        return (*categories, *(f"{name} {k}" for name, count in rest for k in range(count)))

    def __call__(self, e: Tensor) -> Tensor:
        share = torch.special.ndtr(e[:, : self.size - self.noise])  # uniform on (0, 1)
        parts = [
            one_hot((share[:, number] * values).long().clamp(max=values - 1), values).to(e)
            for number, values in enumerate(self.categories)
        ]
        return torch.cat([*parts, 2 * share[:, len(self.categories) :] - 1, e[:, self.size - self.noise :]], dim=1)
