"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from exnihilo.nets.layers import Norm, Reshape, norm, zero_init


class MLP(nn.Module):
    """Linear layers with a nonlinearity between: (B, *shape_in) -> (B, *shape_out)."""

    def __init__(
        self,
        shape_in: Sequence[int],
        shape_out: Sequence[int],
        width: int,
        depth: int = 2,
        *,
        activation: Callable[[], nn.Module] = nn.SiLU,
        normalisation: Norm = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        sizes = [math.prod(shape_in)] + [width] * depth
        hidden: list[nn.Module] = []
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            hidden += [nn.Linear(before, after), norm(normalisation, after), activation()]
            hidden += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(nn.Flatten(), *hidden)
        self.feature_size = sizes[-1]
        self.head = nn.Linear(sizes[-1], math.prod(shape_out))
        self.shape = Reshape(*shape_out)

    def features(self, x: Tensor) -> Tensor:
        """[B, width] the last hidden layer."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.shape(self.head(self.layers(x)))


class ResidualMLP(nn.Module):
    """Residual blocks modulated by a vector: (B, *shape), (B, vector) -> (B, *shape); the last layer starts at zero.

    inputs, outputs: how many times the first dimension of the shape comes in and goes out.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        depth: int,
        vector: int,
        dropout: float = 0.0,
        *,
        inputs: int = 1,
        outputs: int = 1,
    ):
        super().__init__()
        size, self.shape = math.prod(shape), (outputs * shape[0], *shape[1:])
        self.enter = nn.Linear(inputs * size, width)
        self.blocks = nn.ModuleList([ResidualBlock(width, vector, dropout) for _ in range(depth)])
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), zero_init(nn.Linear(width, outputs * size)))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        h = self.enter(x.flatten(1))  # [B, width]
        for block in self.blocks:
            h = block(h, vector)
        return self.leave(h).unflatten(1, self.shape)


class ResidualBlock(nn.Module):
    """x + gate * f(scale * norm(x) + shift), with shift, scale and gate from the vector."""

    def __init__(self, width: int, vector: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(vector, 3 * width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale, gate = self.modulate(torch.nn.functional.silu(vector)).chunk(3, dim=1)  # each [B, width]
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)
