"""Maps that bend space along one direction or around one point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from exnihilo.probability.bijections import Bijection
from exnihilo.probability.roots import rising_root


@dataclass(frozen=True)
class Planar:
    """z' = z + u^ tanh(w . z + b),  log|det| = log|1 + (1 - tanh^2) w . u^|;  u, w [B, K], b [B].

    Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 10-12; u^ = u + (softplus(w . u) - 1 - w . u) w / |w|^2 keeps
    w . u^ > -1, without which there is no inverse (appendix A.1).
    """

    u: Tensor
    w: Tensor
    b: Tensor

    def direction(self) -> tuple[Tensor, Tensor]:
        """u^ [B, K] and w . u^ [B], the latter above -1."""
        along = (self.w * self.u).sum(dim=1)
        allowed = softplus(along) - 1
        squared = self.w.square().sum(dim=1).clamp(min=1e-12)
        return self.u + ((allowed - along) / squared)[:, None] * self.w, allowed

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, along = self.direction()
        bend = torch.tanh((z * self.w).sum(dim=1) + self.b)
        return z + bend[:, None] * u, torch.log1p((1 - bend.square()) * along)

    def inverse(self, z: Tensor) -> Tensor:
        """By bisection for a = w . z, since w . z' = a + (w . u^) tanh(a + b) rises with a."""
        u, along = self.direction()

        def reaches(a: Tensor) -> tuple[Tensor, Tensor]:
            bend = torch.tanh(a + self.b)
            return a + along * bend, 1 + along * (1 - bend.square())

        reached = (z * self.w).sum(dim=1)
        a = rising_root(reaches, reached, reached - along.abs(), reached + along.abs())
        return z - torch.tanh(a + self.b)[:, None] * u

    def repeat(self, n: int) -> Planar:
        return Planar(*(part.repeat_interleave(n, dim=0) for part in (self.u, self.w, self.b)))


@dataclass(frozen=True)
class Radial:
    """z' = z + beta h (z - z0) with h = 1 / (alpha + |z - z0|); z0 [B, K], alpha > 0 and beta > -alpha [B].

    log|det| = (K - 1) log(1 + beta h) + log(1 + alpha beta h^2). Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 14:
    contracts towards z0 where beta < 0, expands where it is above.
    """

    centre: Tensor
    alpha: Tensor
    beta: Tensor

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        offset = z - self.centre
        h = 1 / (self.alpha + torch.linalg.vector_norm(offset, dim=1))
        across = (z.shape[1] - 1) * torch.log1p(self.beta * h)
        return z + (self.beta * h)[:, None] * offset, across + torch.log1p(self.alpha * self.beta * h.square())

    def inverse(self, z: Tensor) -> Tensor:
        """r' = r + beta r / (alpha + r) is a quadratic in r, whose root above 0 is taken in its stable form."""
        offset = z - self.centre
        reached = torch.linalg.vector_norm(offset, dim=1)
        half = self.alpha + self.beta - reached
        root = (half.square() + 4 * self.alpha * reached).sqrt()
        down = half > 0
        small = 2 * self.alpha * reached / torch.where(down, half + root, 1.0)
        r = torch.where(down, small, 0.5 * (root - half))
        return self.centre + offset / (1 + self.beta / (self.alpha + r))[:, None]


class PlanarMap(Bijection):
    """`Planar` with learned u, w, b: from the base towards the data, as in the paper; take its `Inverse` in a flow."""

    def __init__(self, size: int):
        super().__init__()
        spread = 1 / math.sqrt(size)
        self.u = nn.Parameter(0.1 * spread * torch.randn(1, size))
        self.w = nn.Parameter(spread * torch.randn(1, size))
        self.b = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return Planar(self.u, self.w, self.b)(x)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return Planar(self.u, self.w, self.b).inverse(u)


class RadialMap(Bijection):
    """`Radial` with a learned centre, alpha = softplus(a) and beta = softplus(b) - alpha, which keeps beta > -alpha."""

    def __init__(self, size: int):
        super().__init__()
        self.centre = nn.Parameter(torch.randn(1, size))
        self.a = nn.Parameter(torch.ones(1))
        self.b = nn.Parameter(torch.ones(1) + 0.1 * torch.randn(1))  # about the identity

    def radial(self) -> Radial:
        alpha = softplus(self.a)
        return Radial(self.centre, alpha, softplus(self.b) - alpha)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.radial()(x)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.radial().inverse(u)
