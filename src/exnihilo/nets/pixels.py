"""The PixelCNN: masked convolutions over pictures, and the walk that computes only what is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from exnihilo.nets.layers import zero_init
from exnihilo.nets.masked import EMBEDDING, Categories, CausalNetwork, MaskedConv2d, Walk, colour_groups, raster


class PixelResidual(nn.Module):
    """h + W_1 * relu(W_3 * relu(h) + V vector): a masked 3 x 3 and a 1 x 1 convolution.

    van den Oord et al., 2016, arXiv:1601.06759, Figure 5, at constant width; V is the class bias of arXiv:1606.05328,
    Eq. 4.
    """

    def __init__(self, groups: Tensor, vector: int, dropout: float):
        super().__init__()
        self.near = MaskedConv2d(3, groups, groups)
        self.bias = nn.Linear(vector, len(groups), bias=False) if vector else None
        self.dropout = nn.Dropout(dropout)
        self.mix = MaskedConv2d(1, groups, groups)

    def shift(self, vector: Tensor | None) -> Tensor | float:
        """What the vector adds inside: [B, width], or 0."""
        return 0.0 if self.bias is None or vector is None else self.bias(vector)

    def forward(self, h: Tensor, vector: Tensor | None) -> Tensor:
        shift = self.shift(vector)
        inside = self.near(relu(h)) + (shift if isinstance(shift, float) else shift[:, :, None, None])
        return h + self.mix(self.dropout(relu(inside)))


class PixelCNN(CausalNetwork):
    """A masked 7 x 7 convolution (mask A), residual blocks of masked 3 x 3 ones (mask B) and two 1 x 1 layers.

    van den Oord et al., 2016, arXiv:1601.06759, Table 1. Pixels in raster order, in each pixel the colours in their
    order. Every place has its own learned bias, since zero padding alone says little about where a pixel is.
    categories: entries are integers, embedded (codes, whose neighbours are not alike).
    Caution: the masks leave a blind spot to the upper right of a pixel (arXiv:1606.05328, Figure 1).
    """

    def __init__(
        self,
        shape: Sequence[int],
        per_entry: int,
        *,
        width: int,
        depth: int,
        kernel: int = 7,
        vector: int = 0,
        dropout: float = 0.0,
        categories: int = 0,
    ):
        super().__init__()
        self.shape, self.per_entry = tuple(shape), per_entry
        colours = shape[0]
        groups = colour_groups(width, colours)
        each = min(categories, EMBEDDING) if categories else 1
        self.read = Categories(categories, each) if categories else nn.Identity()
        self.enter = MaskedConv2d(kernel, torch.arange(colours).repeat_interleave(each), groups, strict=True)
        self.place = nn.Parameter(torch.zeros(width, *shape[1:]))
        self.blocks = nn.ModuleList([PixelResidual(groups, vector, dropout) for _ in range(depth)])
        self.mix = MaskedConv2d(1, groups, groups)
        self.leave = MaskedConv2d(1, groups, torch.arange(colours).repeat(per_entry))
        zero_init(self.leave)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        h = self.enter(self.read(x)) + self.place  # (B, width, H, W)
        for block in self.blocks:
            h = block(h, vector)
        return self.leave(relu(self.mix(relu(h))))  # (B, per_entry C, H, W)

    def order(self) -> Iterator[tuple[int, ...]]:
        return raster(self.shape)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return PixelWalk(self, n, vector)


class Strip:
    """The last rows of a map of features, as much as a masked convolution looks back on: [n, columns, rows, channels].

    A window of columns is contiguous in memory, so that a convolution at one pixel is one matrix product.
    """

    def __init__(self, like: Tensor, n: int, breadth: int, conv: MaskedConv2d):
        self.matrix, self.bias, self.middle = conv.matrix(), conv.bias, conv.middle
        self.values = like.new_zeros(n, breadth + 2 * conv.middle, conv.middle + 1, conv.weight.shape[1])

    def next_row(self) -> None:
        """The rows move up; the lowest is empty."""
        self.values = torch.cat([self.values[:, :, 1:], torch.zeros_like(self.values[:, :, :1])], dim=2)

    def put(self, column: int, values: Tensor) -> None:
        """Features [n, channels] of a pixel of the lowest row."""
        self.values[:, column + self.middle, -1] = values

    def convolve(self, column: int) -> Tensor:
        """[n, out] the masked convolution at a pixel of the lowest row."""
        window = self.values[:, column : column + 2 * self.middle + 1]
        return linear(window.flatten(1), self.matrix, self.bias)


class PixelWalk(Walk):
    """Computes only what is new: the features of one pixel in every layer, from strips of those that came before.

    The same numbers as a `FullWalk`'s, up to rounding, at 1 / (H W) of its cost.
    """

    def __init__(self, network: PixelCNN, n: int, vector: Tensor | None):
        like, breadth = network.place, network.shape[2]
        self.network = network
        self.x = like.new_zeros(n, *network.shape)
        self.pixels = Strip(like, n, breadth, network.enter)
        self.blocks = cast("list[PixelResidual]", list(network.blocks))
        self.strips = [Strip(like, n, breadth, block.near) for block in self.blocks]
        self.shifts = [block.shift(vector) for block in self.blocks]
        self.row = 0

    def predict(self, place: tuple[int, ...]) -> Tensor:
        colour, row, column = place
        if row > self.row:
            for strip in (self.pixels, *self.strips):
                strip.next_row()
            self.row = row
        h = self.pixels.convolve(column) + self.network.place[:, row, column]
        for block, strip, shift in zip(self.blocks, self.strips, self.shifts, strict=True):
            strip.put(column, relu(h))
            h = h + pointwise(block.mix, relu(strip.convolve(column) + shift))
        parameters = pointwise(self.network.leave, relu(pointwise(self.network.mix, relu(h))))
        return parameters[:, colour :: self.network.shape[0]]

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        row, column = place[1:]
        super().write(place, value)
        self.pixels.put(column, self.network.read(self.x[:, :, row, column]))


def pointwise(conv: MaskedConv2d, h: Tensor) -> Tensor:
    """A 1 x 1 masked convolution at one pixel: [B, in] -> [B, out]."""
    return linear(h, (conv.weight * conv.mask)[:, :, 0, 0], conv.bias)
