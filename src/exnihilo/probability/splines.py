"""Rational-quadratic splines: monotone, smooth, and inverted by a formula."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from exnihilo.probability.elements import ElementMap


def rational_quadratic(x: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """(y, log dy/dx) of the spline through knots [B, 3, K + 1, n, ...], x [B, n, ...]; beyond the last knots y = x.

    Gregory & Delbourgo, 1982; Durkan et al., 2019, arXiv:1906.04032, Eq. 4 and 5. knots: their x, their y and the
    slopes there. The outer knots lie on y = x, and slopes are positive, 1 at both ends.
    """
    inside, x_in, (x0, x1, y0, y1, d0, d1) = _bin(x, knots, 0)
    width, height = x1 - x0, y1 - y0
    mean_slope, place = height / width, (x_in - x0) / width
    square = place.square()
    both = place - square  # place (1 - place)
    below = torch.addcmul(mean_slope, torch.add(d0 + d1, mean_slope, alpha=-2), both)
    y = torch.addcmul(y0, height, torch.addcmul(mean_slope * square, d0, both) / below)
    rise = torch.addcmul(d1 * square, d0, 1 - place - both) + 2 * mean_slope * both
    log_slope = (rise * (mean_slope / below).square()).log()
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


def rational_quadratic_inverse(y: Tensor, knots: Tensor) -> Tensor:
    """The x with rational_quadratic(x, knots)[0] == y: the root of a quadratic. Durkan et al., 2019, Eq. 29."""
    inside, y_in, (x0, x1, y0, y1, d0, d1) = _bin(y, knots, 1)
    mean_slope = (y1 - y0) / (x1 - x0)
    rise = (y_in - y0) * (d0 + d1 - 2 * mean_slope)
    a = (y1 - y0) * (mean_slope - d0) + rise
    b = (y1 - y0) * d0 - rise
    c = -mean_slope * (y_in - y0)
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    return torch.where(inside, x0 + (x1 - x0) * 2 * c / (-b - root), y)


def _bin(value: Tensor, knots: Tensor, axis: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """(inside, the value or - outside - the nearest edge, and x, y and slope of the two knots around it).

    Values outside are moved in before anything is computed of them: their gradients would be NaN, not 0.
    """
    edges = knots[:, axis].detach()
    low, high = edges[:, 0], edges[:, -1]
    inside = (value > low) & (value < high)
    value = torch.where(inside, value, low)
    index = (value[:, None] >= edges[:, 1:-1]).sum(dim=1)  # [B, n, ...] in 0 ... K - 1
    both = torch.stack([index, index + 1], dim=1)[:, None].expand(-1, 3, *[-1] * (knots.ndim - 2))
    around = knots.expand(len(value), *knots.shape[1:]).gather(2, both)  # [B, 3, 2, n, ...]
    return inside, value, around.flatten(1, 2).unbind(dim=1)


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

    def knots(self, parameters: Tensor) -> Tensor:
        """[B, 3, K + 1, n, ...]: x, y and slopes."""
        sizes, slopes = parameters.split([2 * self.bins, self.bins - 1], dim=1)
        heap = sizes.unflatten(1, (2, self.bins)).softmax(dim=2).cumsum(dim=2)[:, :, :-1]
        least = self.LEAST * torch.arange(1, self.bins, device=heap.device).to(heap)  # what the bins so far have anyway
        start = (self.bound * (2 * least - 1)).view(-1, *[1] * (parameters.ndim - 2))
        places = torch.add(start, heap, alpha=2 * self.bound * (1 - self.LEAST * self.bins))
        slopes = softplus(slopes + self.level) + self.LEAST
        before, behind = ([0, 0] * (parameters.ndim - 2) + side for side in ([1, 0], [0, 1]))
        places = pad(pad(places, before, value=-self.bound), behind, value=self.bound)  # the ends are exact
        slopes = pad(slopes, [one + other for one, other in zip(before, behind, strict=True)], value=1.0)
        return torch.cat([places, slopes[:, None]], dim=1)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic(x, self.knots(parameters))

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        return rational_quadratic_inverse(y, self.knots(parameters))
