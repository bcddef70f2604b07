"""Inverses of monotone functions that have no formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HALVINGS = 40  # leave 1e-12 of the interval; beyond it, single precision sees nothing new


def rising_root(
    value_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]], target: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """The x in [low, high] with f(x) = target, entry by entry, for a rising f given as x -> (f(x), f'(x)).

    By bisection and one step of Newton's method, through which gradients pass: those of the implicit function, in the
    target as in all that f is made of. Caution: they are right once, not twice.
    """
    with torch.no_grad():
        floor, ceiling = low.detach(), high.detach()
        for _ in range(HALVINGS):
            middle = 0.5 * (floor + ceiling)
            below = value_and_slope(middle)[0] < target
            floor, ceiling = torch.where(below, middle, floor), torch.where(below, ceiling, middle)
        found = 0.5 * (floor + ceiling)
        slope = value_and_slope(found)[1].clamp(min=1e-6)
    return found + (target - value_and_slope(found)[0]) / slope
