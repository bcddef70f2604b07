"""Straight lines through the codes: along single coordinates, or along the directions of their largest variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from exnihilo.core import OptionError

AxesName = Literal["coordinates", "principal"]
Coordinates = int | Sequence[int] | None


@dataclass(frozen=True)
class Axes:
    """Orthonormal directions [R, K] of codes, flattened to K numbers, with mean [K] and standard deviations [R]."""

    names: tuple[str, ...]
    location: Tensor
    directions: Tensor
    scales: Tensor

    def place(self, start: Tensor, row: int, values: Tensor) -> Tensor:
        """[S, K] `start` [K] moved along one axis to the places mean + value * standard deviation, values [S]."""
        direction = self.directions[row]
        here = (start - self.location) @ direction
        return start + (values * self.scales[row] - here)[:, None] * direction

    def __getitem__(self, rows: Sequence[int]) -> Axes:
        """Some of the axes, in this order."""
        chosen = list(rows)
        return Axes(
            tuple(self.names[row] for row in chosen), self.location, self.directions[chosen], self.scales[chosen]
        )


def axes_of(
    codes: Tensor,
    kind: AxesName,
    coordinates: Coordinates = None,
    most: int | None = None,
    names: Sequence[str] = (),
) -> Axes:
    """The axes of codes [N, ...]: the chosen ones, or all - at most `most`, those of the largest variance.

    names: of the coordinates; by default z0, z1, ...
    """
    rows = codes.flatten(1)
    size = rows.shape[1]
    location = rows.mean(dim=0)
    count = size if kind == "coordinates" else min(size, len(rows) - 1)
    chosen = None if coordinates is None else _checked(coordinates, count, kind)
    if kind == "principal":
        _, spread, basis = torch.linalg.svd(rows - location, full_matrices=False)  # spreads descend
        largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
        basis, spread = basis * largest.sign(), spread / max(len(rows) - 1, 1) ** 0.5
        chosen = range(count)[:most] if chosen is None else chosen
        return Axes(tuple(f"axis {k}" for k in chosen), location, basis[list(chosen)], spread[list(chosen)])
    spread = rows.std(dim=0)
    if chosen is None:
        chosen = sorted(spread.argsort(descending=True, stable=True)[:most].tolist())
    directions = torch.zeros(len(chosen), size).to(rows)
    directions[range(len(chosen)), list(chosen)] = 1.0
    return Axes(tuple(names[k] if names else f"z{k}" for k in chosen), location, directions, spread[list(chosen)])


def _checked(coordinates: int | Sequence[int], count: int, kind: AxesName) -> Sequence[int]:
    chosen = [coordinates] if isinstance(coordinates, int) else list(coordinates)
    word = "coordinate" if kind == "coordinates" else "principal axis"
    for k in chosen:
        if not 0 <= k < count:
            raise OptionError(
                f"There is no {word} {k}: the code has {count}"
                + (f", 0 to {count - 1}." if count > 1 else ", number 0.")
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise OptionError(f"Coordinates {chosen} are not allowed. Name one or more, each once.")
    return chosen
