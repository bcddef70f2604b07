"""Rational-quadratic splines: monotone, smooth, and inverted by a formula."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from exnihilo.probability.elements import ElementMap


class Piece(NamedTuple):
    """The piece of a spline that each value is on, with the box that it lives in scaled to [0, 1]; all [B, n, ...]."""

    inside: Tensor  # whether the value is in the box
    value: Tensor  # the scaled value, or the middle of the box where it is outside: its gradient would be NaN, not 0
    x: Tensor  # of the left knot
    y: Tensor
    width: Tensor  # to the right knot
    height: Tensor
    left: Tensor  # slopes at the two knots
    right: Tensor


def picked(table: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """Row index [B, n, ...] of each part of a table [B or 1, parts, rows, n, ...]: parts tensors [B, n, ...].

    Examples that share a table stand where its rows are, so that neither it nor its gradient is copied for each.
    """
    parts = table.shape[1]
    if len(table) == 1:
        return table.gather(2, index[None, None].expand(1, parts, *index.shape))[0].unbind(dim=0)
    return table.gather(2, index[:, None, None].expand(-1, parts, 1, *index.shape[1:]))[:, :, 0].unbind(dim=1)


class RationalQuadratic(ElementMap):
    """y = a spline of `bins` pieces on [-bound, bound], y = x beyond; parameters (K widths, K heights, K - 1 slopes).

    Gregory & Delbourgo, 1982; Durkan et al., 2019, arXiv:1906.04032, section 3.1. Widths and heights are a softmax, of
    which every bin has at least 0.001 of the whole; inner slopes are a softplus, at least 0.001, those at both ends 1.
    Parameters of zero are the identity. Caution: only what lies within the bound is bent, so standardise first.
    """

    LEAST = 1e-3

    def __init__(self, bins: int = 8, bound: float = 3.0):
        super().__init__()
        self.bins, self.bound, self.count = bins, bound, 3 * bins - 1
        self.level = math.log(math.expm1(1 - self.LEAST))  # softplus(level) + LEAST = 1

    def piece(self, value: Tensor, parameters: Tensor, axis: int) -> Piece:
        """axis: whether the value is an x (0) or a y (1)."""
        sizes, slopes = parameters.split([2 * self.bins, self.bins - 1], dim=1)
        shares = sizes.unflatten(1, (2, self.bins)).softmax(dim=2)
        sizes = torch.add(self.LEAST, shares, alpha=1 - self.LEAST * self.bins)  # [B, 2, K, n, ...]
        ends = sizes.cumsum(dim=2)
        inside = value.abs() < self.bound
        value = torch.where(inside, value, 0.0) / (2 * self.bound) + 0.5
        index = (value[:, None] >= ends[:, axis, :-1].detach()).sum(dim=1)  # [B, n, ...] in 0 ... K - 1
        slopes = pad(slopes, [0, 0] * (slopes.ndim - 2) + [1, 1])[:, None]  # zeros at the ends are slopes of 1
        width, height = picked(sizes, index)
        x_end, y_end = picked(ends, index)
        left, right = (softplus(picked(slopes, knot)[0] + self.level) + self.LEAST for knot in (index, index + 1))
        return Piece(inside, value, x_end - width, y_end - height, width, height, left, right)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Durkan et al., 2019, Eq. 4 and 5."""
        on = self.piece(x, parameters, 0)
        slope = on.height / on.width
        place = ((on.value - on.x) / on.width).clamp(0, 1)  # rounding must not leave the piece: the slope falls fast
        square = place.square()
        both = place - square  # place (1 - place)
        below = torch.addcmul(slope, torch.add(on.left + on.right, slope, alpha=-2), both)
        y = torch.addcmul(on.y, on.height, torch.addcmul(slope * square, on.left, both) / below)
        rise = torch.addcmul(on.right * square, on.left, 1 - place - both) + 2 * slope * both
        log_slope = (rise * (slope / below).square()).log()
        return torch.where(on.inside, (y - 0.5) * (2 * self.bound), x), torch.where(on.inside, log_slope, 0.0)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        """The root of a quadratic: Durkan et al., 2019, Eq. 29."""
        on = self.piece(y, parameters, 1)
        slope, above = on.height / on.width, on.value - on.y
        rise = above * (on.left + on.right - 2 * slope)
        a = on.height * (slope - on.left) + rise
        b = on.height * on.left - rise
        c = -slope * above
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        x = on.x + on.width * 2 * c / (-b - root)
        return torch.where(on.inside, (x - 0.5) * (2 * self.bound), y)
