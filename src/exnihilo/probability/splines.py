"""Rational-quadratic splines: monotone, smooth, and inverted by a formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from exnihilo.probability.elements import ElementMap


def rational_quadratic(x: Tensor, horizontal: Tensor, vertical: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """(y, log dy/dx) of the spline through knots [B, K + 1, n, ...], x [B, n, ...]; beyond the last knots y = x.

    Gregory & Delbourgo, 1982; Durkan et al., 2019, arXiv:1906.04032, Eq. 4 and 5. The outer knots lie on y = x, and
    slopes are positive, 1 at both ends.
    """
    inside, x_in, (x0, x1, y0, y1, d0, d1) = _bin(x, horizontal, (horizontal, vertical, slopes))
    mean_slope = (y1 - y0) / (x1 - x0)
    place = (x_in - x0) / (x1 - x0)
    both = place * (1 - place)
    below = mean_slope + (d0 + d1 - 2 * mean_slope) * both
    y = y0 + (y1 - y0) * (mean_slope * place.square() + d0 * both) / below
    rise = d1 * place.square() + 2 * mean_slope * both + d0 * (1 - place).square()
    log_slope = rise.log() + 2 * (mean_slope.log() - below.log())
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


def rational_quadratic_inverse(y: Tensor, horizontal: Tensor, vertical: Tensor, slopes: Tensor) -> Tensor:
    """The x with rational_quadratic(x, ...)[0] == y: the root of a quadratic. Durkan et al., 2019, Eq. 29."""
    inside, y_in, (x0, x1, y0, y1, d0, d1) = _bin(y, vertical, (horizontal, vertical, slopes))
    mean_slope = (y1 - y0) / (x1 - x0)
    rise = (y_in - y0) * (d0 + d1 - 2 * mean_slope)
    a = (y1 - y0) * (mean_slope - d0) + rise
    b = (y1 - y0) * d0 - rise
    c = -mean_slope * (y_in - y0)
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    return torch.where(inside, x0 + (x1 - x0) * 2 * c / (-b - root), y)


def _bin(
    value: Tensor, edges: Tensor, knots: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """(inside, the value or - outside - the nearest edge, and of each kind of knot the two around it).

    Values outside are moved in before anything is computed of them: their gradients would be NaN, not 0.
    """
    low, high = edges[:, 0], edges[:, -1]
    inside = (value > low) & (value < high)
    value = torch.where(inside, value, low)
    index = (value[:, None] >= edges[:, 1:-1]).sum(dim=1, keepdim=True)  # [B, 1, n, ...] in 0 ... K - 1
    both = torch.cat([index, index + 1], dim=1)
    around = [knot.expand(len(value), *knot.shape[1:]).gather(1, both).unbind(dim=1) for knot in knots]
    return inside, value, tuple(end for pair in around for end in pair)


class RationalQuadratic(ElementMap):
    """y = a spline of `bins` pieces on [-bound, bound], y = x beyond; parameters (K widths, K heights, K - 1 slopes).

    Durkan et al., 2019, arXiv:1906.04032, section 3.1. Widths and heights are a softmax, of which every bin has at
    least 0.001 of the whole; inner slopes are a softplus, at least 0.001. Parameters of zero are the identity.
    Caution: only what lies within the bound is bent, so standardise first.
    """

    LEAST = 1e-3

    def __init__(self, bins: int = 8, bound: float = 3.0):
        super().__init__()
        self.bins, self.bound, self.count = bins, bound, 3 * bins - 1
        self.level = math.log(math.expm1(1 - self.LEAST))  # softplus(level) + LEAST = 1

    def _places(self, raw: Tensor) -> Tensor:
        """[B, K, ...] -> [B, K + 1, ...] the knots, from -bound to bound."""
        share = self.LEAST + (1 - self.LEAST * self.bins) * raw.softmax(dim=1)
        inner = self.bound * (2 * share.cumsum(dim=1)[:, :-1] - 1)
        end = torch.full_like(inner[:, :1], self.bound)  # exactly, whatever the rounding of the sum
        return torch.cat([-end, inner, end], dim=1)

    def knots(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(horizontal, vertical, slopes), each [B, K + 1, n, ...]."""
        widths, heights, slopes = parameters.split([self.bins, self.bins, self.bins - 1], dim=1)
        inner = softplus(slopes + self.level) + self.LEAST
        ends = [0, 0] * (parameters.ndim - 2) + [1, 1]
        return self._places(widths), self._places(heights), pad(inner, ends, value=1.0)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic(x, *self.knots(parameters))

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        return rational_quadratic_inverse(y, *self.knots(parameters))
