"""Which entries a coupling keeps and which it changes: the masks of coupling flows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Partition(nn.Module):
    """x = (kept, changed): what the network may see, and what it changes."""

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(kept, changed)."""
        raise NotImplementedError

    def merge(self, x: Tensor, changed: Tensor) -> Tensor:
        """x with its changed entries replaced."""
        raise NotImplementedError

    def total(self, log_slope: Tensor) -> Tensor:
        """[B] the sum over what has really changed."""
        return log_slope.flatten(1).sum(dim=1)


class Entries(Partition):
    """Entries of dimension 1: of a vector, or whole channels. keep: booleans [n], True = kept.

    Both parts are packed, so the network and the element map work on no more than they must.
    """

    kept: Tensor
    changed: Tensor

    def __init__(self, keep: Tensor):
        super().__init__()
        self.register_buffer("kept", keep.nonzero()[:, 0])  # saved with the weights: random masks belong to them
        self.register_buffer("changed", (~keep).nonzero()[:, 0])

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.kept), x.index_select(1, self.changed)

    def merge(self, x: Tensor, changed: Tensor) -> Tensor:
        return x.index_copy(1, self.changed, changed)


class Checkerboard(Partition):
    """Pixels with (row + column) % 2 == parity are kept, for images whose sides cannot be halved.

    Dinh et al., 2017, arXiv:1605.08803, Figure 3. The network sees the picture with the others blanked, and answers for
    all pixels. Where the sides are even, `Squeeze` and `Entries` keep the same pixels at a quarter of the cost.
    """

    keep: Tensor

    def __init__(self, height: int, width: int, parity: int):
        super().__init__()
        squares = torch.arange(height)[:, None] + torch.arange(width)
        self.register_buffer("keep", squares % 2 == parity)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.keep, x

    def merge(self, x: Tensor, changed: Tensor) -> Tensor:
        return torch.where(self.keep, x, changed)

    def total(self, log_slope: Tensor) -> Tensor:
        return (log_slope * ~self.keep).flatten(1).sum(dim=1)
