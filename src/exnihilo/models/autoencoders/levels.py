"""Levels of a hierarchical autoencoder, and the networks that read x for them from the bottom up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from exnihilo.nets.cells import DecoderCell, EncoderCell
from exnihilo.nets.layers import zero_init
from exnihilo.nets.mlp import MLP
from exnihilo.probability.distributions import DiagonalNormal


class Level(nn.Module):
    """p(z_l | z_>l) and q(z_l | x, z_>l), both made of what has come down: enter, choose z, leave."""

    shape: tuple[int, ...]  # of one z

    def enter(self, state: Tensor) -> Tensor:
        """What this level makes of the state from above; at the top that is empty, [B, 0]."""
        raise NotImplementedError

    def prior(self, inside: Tensor) -> DiagonalNormal:
        """p(z | above)."""
        raise NotImplementedError

    def posterior(self, inside: Tensor, feature: Tensor, prior: DiagonalNormal) -> DiagonalNormal:
        """q(z | x, above), x by its feature."""
        raise NotImplementedError

    def leave(self, inside: Tensor, z: Tensor) -> Tensor:
        """The state for the level below."""
        raise NotImplementedError


def standard_normal(n: int, shape: Sequence[int], like: Tensor) -> DiagonalNormal:
    """N(0, I), n times."""
    zeros = torch.zeros(n, *shape, device=like.device)
    return DiagonalNormal(zeros, zeros)


class LeakyTenth(nn.LeakyReLU):
    """LeakyReLU with slope 0.1, the ladder's nonlinearity."""

    def __init__(self) -> None:
        super().__init__(0.1)


# -- the ladder: vectors, weighed by their precisions ------------------------------------------------------------------


def precision_weighted(a: DiagonalNormal, b: DiagonalNormal) -> DiagonalNormal:
    """The normalised product of two Gaussians: 1/v = 1/v_a + 1/v_b, m = v (m_a / v_a + m_b / v_b).

    Sonderby et al., 2016, arXiv:1602.02282, Eq. 16-17: evidence from x and expectation from above weigh by precision.
    """
    log_precision = torch.logaddexp(-a.log_variance, -b.log_variance)
    share = torch.exp(-a.log_variance - log_precision)  # of a
    return DiagonalNormal(share * a.mean + (1 - share) * b.mean, -log_precision)


class LadderLevel(Level):
    """Vectors z_l [latent]; p(z_l | z_(l+1)) from a network, q its precision-weighted product with evidence from x.

    above: size of z_(l+1); 0 at the top, where p = N(0, I) and q is the evidence alone.
    """

    def __init__(self, latent: int, feature: int, above: int, width: int):
        super().__init__()
        self.shape, self.above = (latent,), above
        self.path = (
            MLP((above,), (2, latent), width, 2, activation=LeakyTenth, normalisation="batch") if above else None
        )
        self.evidence = nn.Linear(feature, 2 * latent)

    def enter(self, state: Tensor) -> Tensor:
        return state if self.path is None else self.path(state).float()  # [B, 0] or [B, 2, latent]

    def prior(self, inside: Tensor) -> DiagonalNormal:
        return DiagonalNormal.of(inside) if self.above else standard_normal(len(inside), self.shape, inside)

    def posterior(self, inside: Tensor, feature: Tensor, prior: DiagonalNormal) -> DiagonalNormal:
        evidence = DiagonalNormal.of(self.evidence(feature).float().unflatten(1, (2, -1)))
        return precision_weighted(evidence, prior) if self.above else evidence

    def leave(self, inside: Tensor, z: Tensor) -> Tensor:
        return z


class LadderReader(nn.Module):
    """x -> d_1 -> ... -> d_L, deterministic, answered from d_L to d_1. first: (B, *shape) -> (B, widths[0])."""

    def __init__(self, first: nn.Module, widths: Sequence[int]):
        super().__init__()
        self.first = first
        self.others = nn.ModuleList(
            [
                MLP((low,), (high,), high, 1, activation=LeakyTenth, normalisation="batch")
                for low, high in pairwise(widths)
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.first(x)]
        for network in self.others:
            features.append(network(leaky_relu(features[-1], 0.1)))
        return features[::-1]


# -- residual cells: maps, residual Gaussians --------------------------------------------------------------------------


def tame(x: Tensor) -> Tensor:
    """5 tanh(x / 5): log-variances and shifts that cannot run away."""
    return 5 * torch.tanh(x / 5)


class ResidualLevel(Level):
    """Maps z_l [latent, h, w] beside a deterministic path of residual cells.

    q = N(m + dm, s^2 ds^2) where p = N(m, s^2): the encoder says only what differs from the expectation (Vahdat &
    Kautz, 2020, arXiv:2007.03898, section 3.2). channels: of the path, here and above (0: the top, where the path
    begins with a learned constant and p = N(0, I)).
    """

    def __init__(self, latent: int, side: tuple[int, int], channels: int, above: int):
        super().__init__()
        self.shape, self.top = (latent, *side), above == 0
        self.start = nn.Parameter(torch.randn(channels, *side)) if self.top else None
        self.arrive = nn.Identity() if self.top or above == channels else rise(above, channels, side)
        self.cell = DecoderCell(channels)
        self.expect = None if self.top else zero_init(nn.Conv2d(channels, 2 * latent, 1))
        self.join = nn.Conv2d(channels, channels, 1)
        self.differ = zero_init(nn.Conv2d(channels, 2 * latent, 3, padding=1))
        self.add = nn.Conv2d(channels + latent, channels, 1)

    def enter(self, state: Tensor) -> Tensor:
        inside = state if self.start is None else self.start.expand(len(state), -1, -1, -1)
        return self.cell(self.arrive(inside))

    def prior(self, inside: Tensor) -> DiagonalNormal:
        if self.expect is None:
            return standard_normal(len(inside), self.shape, inside)
        mean, log_variance = tame(self.expect(elu(inside)).float()).chunk(2, dim=1)
        return DiagonalNormal(mean, log_variance)

    def posterior(self, inside: Tensor, feature: Tensor, prior: DiagonalNormal) -> DiagonalNormal:
        joined = elu(feature + self.join(inside))
        shift, log_ratio = tame(self.differ(joined).float()).chunk(2, dim=1)
        return DiagonalNormal(prior.mean + shift, prior.log_variance + log_ratio)

    def leave(self, inside: Tensor, z: Tensor) -> Tensor:
        return self.add(torch.cat([inside, z.to(inside)], dim=1))


def rise(channels_in: int, channels_out: int, side: tuple[int, int]) -> nn.Module:
    """To a larger map with fewer channels."""
    return nn.Sequential(nn.Upsample(size=side), nn.Conv2d(channels_in, channels_out, 3, padding=1))


class ResidualReader(nn.Module):
    """A picture -> maps by residual cells, halved after every `depth` of them, answered from the last to the first.

    sides: of the picture, then of the maps; channels: of the maps.
    """

    def __init__(self, colours: int, sides: Sequence[tuple[int, int]], channels: Sequence[int], depth: int):
        super().__init__()
        self.stem = nn.Conv2d(colours, channels[0], 3, padding=1)
        self.cells = nn.ModuleList()
        for before, after in zip([channels[0], *channels], channels, strict=False):
            halve = nn.Conv2d(before, after, 3, stride=2, padding=1)
            self.cells.append(nn.Sequential(halve, EncoderCell(after)))
            self.cells.extend(EncoderCell(after) for _ in range(depth - 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.stem(x)
        features = []
        for cell in self.cells:
            h = cell(h)
            features.append(h)
        return features[::-1]
