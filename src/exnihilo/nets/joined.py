"""A network that is told something beside what it transforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Joined(nn.Module):
    """network([x, vector]): x [B, C, ...] with vector [B, V] as V further channels, the same at every place.

    flat: x is flattened first, so the vector stands beside its entries once; for fully connected networks. The network
    is built for the joined shape. Caution: a vector of many channels costs a convolution as much as the picture does.
    """

    def __init__(self, network: nn.Module, *, flat: bool):
        super().__init__()
        self.network, self.flat = network, flat

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        if self.flat:
            return self.network(torch.cat([x.flatten(1), vector.to(x)], dim=1))
        channels = vector.view(*vector.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return self.network(torch.cat([x, channels.to(x)], dim=1))
