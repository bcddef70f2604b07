"""Kernel density estimation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Noise, check_mask
from exnihilo.models.classical.family import Classical

BLOCK = 256  # examples compared with all points at once


class KDE(Classical):
    """p(x) = 1/N sum_n N(x; x_n, h^2 I) over the dequantised training examples.

    Rosenblatt, 1956; Parzen, 1962. The bandwidth h is given, or the one of a logarithmic grid under which every
    example is best predicted by the others. It samples by copying training examples and adding a little noise: judge
    it by the distance to the nearest of them.
    """

    points: Tensor
    bandwidth: Tensor

    def __init__(self, size: int, examples: int, bandwidth: float | None):
        super().__init__()
        self.given_bandwidth = bandwidth
        self.register_buffer("points", torch.zeros(max(1, min(examples, self.limit)), size))
        self.register_buffer("bandwidth", torch.tensor(1.0 if bandwidth is None else bandwidth, dtype=torch.float64))

    def solve(self, x: Tensor) -> None:
        """Keep the dequantised examples and choose the bandwidth."""
        self.points = self.spec.dequantise(x)[0].flatten(1).to(self.points)
        if self.given_bandwidth is None:
            self.bandwidth.copy_(self._best_bandwidth())

    def _best_bandwidth(self, candidates: int = 24, queries: int = 1000) -> Tensor:
        """The best leave-one-out likelihood on a grid from a hundredth of the data's scale to three times it.

        Duda & Hart, 1973: points may not vouch for themselves, or h = 0 would win.
        """
        count, size = self.points.shape
        scale = self.points.double().var(dim=0, correction=0).mean().sqrt().clamp(min=1e-6)
        if count < 2:
            return scale
        grid = scale * torch.logspace(-2, math.log10(3), candidates, dtype=torch.float64, device=scale.device)
        chosen = torch.randperm(count)[:queries].to(self.points.device)
        total = torch.zeros_like(grid)
        for part in chosen.split(BLOCK):
            distance = squared_distance(self.flat(self.points[part]), self.points.double())
            distance[torch.arange(len(part)), part] = math.inf  # itself
            for place, h in enumerate(grid):
                total[place] += torch.logsumexp(-0.5 * distance / h**2, dim=1).sum() - len(part) * size * h.log()
        return grid[total.argmax()]

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] exact log-density in nats of x as given (dequantise it first: see `DataSpec.dequantise`)."""
        count, size = self.points.shape
        constant = math.log(count) + size * (self.bandwidth.log() + 0.5 * math.log(2 * math.pi))
        return torch.cat([self._weights(part).logsumexp(dim=1) - constant for part in x.split(BLOCK)]).to(x.dtype)

    def _weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N] -|x - x_n|^2 / 2 h^2, over the entries where mask is True."""
        known = None if mask is None else mask.flatten(1).double()
        return -0.5 * squared_distance(self.flat(x), self.points.double(), known) / self.bandwidth**2

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape]: a training example each, blurred by the kernel."""
        chosen = (noise.uniform(dtype=torch.float64) * len(self.points)).long()
        x = self.points[chosen] + self.bandwidth.float() * noise.normal(self.points.shape[1])
        return x.view(len(noise), *self.spec.shape)

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn from their exact conditional distribution given the others."""
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        uniform, epsilon = noise.uniform(dtype=torch.float64), noise.normal(self.points.shape[1], dtype=x.dtype)
        drawn = []
        for rows in torch.arange(len(x), device=x.device).split(BLOCK):
            heap = self._weights(x[rows], mask[rows]).softmax(dim=1).cumsum(dim=1)
            chosen = torch.searchsorted(heap, uniform[rows, None] * heap[:, -1:], right=True)[:, 0]
            drawn.append(self.points[chosen.clamp(max=len(self.points) - 1)])
        filled = torch.cat(drawn).to(x.dtype) + self.bandwidth.to(x.dtype) * epsilon
        return torch.where(mask, x, filled.view_as(x))


def squared_distance(x: Tensor, points: Tensor, known: Tensor | None = None) -> Tensor:
    """|x_b - p_n|^2 [B, N] of rows [B, D] and [N, D], over the entries where `known` [B, D] is 1."""
    if known is None:
        squares = x.square().sum(dim=1, keepdim=True) + points.square().sum(dim=1)
        return (squares - 2 * x @ points.T).clamp(min=0)
    x = x * known
    return (x.square().sum(dim=1, keepdim=True) + known @ points.T.square() - 2 * x @ points.T).clamp(min=0)
