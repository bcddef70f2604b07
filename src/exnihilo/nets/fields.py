"""Vector fields: networks of a point and a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from exnihilo.nets.layers import zero_init


class ConcatSquash(nn.Module):
    """(W x + b) sigmoid(a t + c) + d t: time opens and shifts every unit.

    Grathwohl et al., 2019, arXiv:1810.01367, appendix B.
    """

    def __init__(self, size_in: int, size_out: int):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out)
        self.gate = nn.Linear(1, size_out)
        self.shift = nn.Linear(1, size_out, bias=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.linear(x) * torch.sigmoid(self.gate(t)) + self.shift(t)


class Field(nn.Module):
    """dz/dt of vectors z [B, D] at time t: `depth` hidden layers with tanh; starts as no movement."""

    def __init__(self, size: int, width: int, depth: int):
        super().__init__()
        sizes: Sequence[int] = [size] + [width] * depth + [size]
        self.layers = nn.ModuleList(ConcatSquash(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        zero_init(self.layers[-1])

    def forward(self, z: Tensor, t: float | Tensor) -> Tensor:
        time = torch.as_tensor(t, device=z.device).to(z.dtype).reshape(1)
        for k, layer in enumerate(self.layers):
            z = layer(torch.tanh(z) if k else z, time)
        return z
