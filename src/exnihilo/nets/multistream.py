"""The network of PixelCNN++: two streams of gated residual blocks that shrink and grow again, with skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from exnihilo.nets.layers import zero_init
from exnihilo.nets.shifted import Look, NewPixel, NewRow, ShiftedConv, shift_down, shift_right

Features = list[list[Tensor]]  # of every level, after every block


def concat_elu(h: Tensor) -> Tensor:
    """elu of h and of -h, side by side: [B, C, ...] -> [B, 2 C, ...]."""
    return elu(torch.cat([h, -h], dim=1))


class GatedResidual(nn.Module):
    """h + a * sigmoid(b), where a and b are a convolution of elu(convolution of h + 1 x 1 of `beside`) + V vector."""

    def __init__(self, width: int, beside: int, *, columns: int, wide: bool, vector: int, dropout: float):
        super().__init__()
        self.near = ShiftedConv(2 * width, width, 2, columns, wide=wide)
        self.beside = nn.Conv2d(2 * beside, width, 1) if beside else None
        self.dropout = nn.Dropout(dropout)
        self.far = ShiftedConv(2 * width, 2 * width, 2, columns, wide=wide, gain=0.1)  # blocks start as almost nothing
        self.tell = nn.Linear(vector, 2 * width, bias=False) if vector else None

    def forward(self, h: Tensor, beside: Tensor | None, vector: Tensor | None, look: Look, level: int) -> Tensor:
        inside = look.through(self.near, concat_elu(h), level)
        if self.beside is not None and beside is not None:
            inside = inside + self.beside(concat_elu(beside))
        inside = look.through(self.far, self.dropout(concat_elu(inside)), level)
        if self.tell is not None and vector is not None:
            inside = inside + self.tell(vector)[:, :, None, None]
        value, door = inside.chunk(2, dim=1)
        return h + value * door.sigmoid()


class Stream(nn.Module):
    """Blocks at every level down to the coarsest and up again, each on the way up beside its equal on the way down.

    `beside`: the features of another stream are seen as well, block by block.
    """

    def __init__(self, width: int, blocks: int, levels: int, *, wide: bool, beside: bool, vector: int, dropout: float):
        super().__init__()
        columns = 3 if wide else 2

        def rows_of_blocks(count: int, seen: int) -> nn.ModuleList:
            make = [
                GatedResidual(width, seen, columns=columns, wide=wide, vector=vector, dropout=dropout)
                for _ in range(count)
            ]
            return nn.ModuleList(make)

        other = width if beside else 0
        last = levels - 1
        self.falling = nn.ModuleList([rows_of_blocks(blocks, other) for _ in range(levels)])
        self.rising = nn.ModuleList([rows_of_blocks(blocks + (k < last), width + other) for k in range(levels)])
        self.shrink = nn.ModuleList([ShiftedConv(width, width, 2, columns, wide=wide, stride=2) for _ in range(last)])
        sides: tuple[int, int] = (0, 1) if wide else (0, 0)
        self.grow = nn.ModuleList(
            [nn.ConvTranspose2d(width, width, (2, columns), 2, sides, sides) for _ in range(last)]
        )

    def forward(
        self,
        h: Tensor,
        features: Features,
        beside: Features | None,
        vector: Tensor | None,
        look: Look,
        level: int = 0,
    ) -> Tensor:
        """The last features; those after every block are left in `features`."""
        mine, other = [], iter(beside[level]) if beside is not None else None
        equals, sides = [h], (h.shape[2], h.shape[3])

        def seen(equal: Tensor | None) -> Tensor | None:
            parts = [] if other is None else [look.here(next(other), level)]
            parts += [] if equal is None else [equal]
            return torch.cat(parts, dim=1) if parts else None

        for block in cast("nn.ModuleList", self.falling[level]):
            h = block(h, seen(None), vector, look, level)
            equals.append(h)
            mine.append(h)
        if level < len(self.shrink):
            low = look.halve(cast("ShiftedConv", self.shrink[level]), h, level)
            if low is not None:
                low = self(low, features, beside, vector, look, level + 1)
            h = look.double(cast("nn.ConvTranspose2d", self.grow[level]), low, level, sides)
        else:
            equals.pop()  # where it stands already
        for block in cast("nn.ModuleList", self.rising[level]):
            h = block(h, seen(equals.pop()), vector, look, level)
            mine.append(h)
        features[level] = mine
        return h


class PixelStreams(nn.Module):
    """Numbers for every pixel from the pixels before it: [B, C, H, W] -> [B, per_pixel, H, W].

    Salimans et al., 2017, arXiv:1701.05517, section 2.3-2.5 and Figure 2. One stream sees all rows above, the other
    also what is to the left, and the former. Every place has biases of its own; the answer starts at zero.
    """

    def __init__(
        self,
        shape: Sequence[int],
        per_pixel: int,
        *,
        width: int,
        blocks: int,
        levels: int = 3,
        vector: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape, self.levels, colours = tuple(shape), levels, shape[0]
        self.enter = ShiftedConv(colours, width, 2, 3, wide=True)
        self.enter_above = ShiftedConv(colours, width, 1, 3, wide=True)
        self.enter_left = ShiftedConv(colours, width, 2, 1)
        self.place = nn.Parameter(torch.zeros(2, width, *shape[1:]))  # of the two streams
        self.above = Stream(width, blocks, levels, wide=True, beside=False, vector=vector, dropout=dropout)
        self.left = Stream(width, blocks, levels, wide=False, beside=True, vector=vector, dropout=dropout)
        self.leave = zero_init(nn.Conv2d(width, per_pixel, 1))

    def rows(self, before: Tensor, place: Tensor, features: Features, vector: Tensor | None, look: Look) -> Tensor:
        """The stream of the rows above, from x a row lower; and what of it enters the other: (B, width, ., W)."""
        h = look.through(self.enter, before) + place
        self.above(h, features, None, vector, look)
        return look.through(self.enter_above, before)

    def pixels(
        self, before: Tensor, entering: Tensor, place: Tensor, beside: Features, vector: Tensor | None, look: Look
    ) -> Tensor:
        """The other stream, from x a column further right, and the answer."""
        h = look.through(self.enter_left, before) + look.here(entering) + place
        h = self.left(h, [[] for _ in range(self.levels)], beside, vector, look)
        return self.leave(elu(h))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        features: Features = [[] for _ in range(self.levels)]
        up, left = self.place
        entering = self.rows(shift_down(x), up, features, vector, Look())
        return self.pixels(shift_right(x), entering, left, features, vector, Look())


class StreamsWalk:
    """The stream of rows a row at a time, the other a pixel at a time; coarse levels only where they are new."""

    def __init__(self, network: PixelStreams, x: Tensor, vector: Tensor | None):
        self.network, self.x, self.vector = network, x, vector
        self.above, self.left = NewRow(), NewPixel(x.shape[3])
        self.features: Features = [[] for _ in range(network.levels)]
        self.entering: Tensor | None = None

    def numbers(self, row: int, column: int) -> Tensor:
        """[n, per_pixel] of a pixel, given those before; pixels are asked for in raster order, each once."""
        network, nothing = self.network, torch.zeros_like
        up, left = network.place
        self.above.row = self.left.row = row
        self.left.column = column
        if column == 0 or self.entering is None:
            before = self.x[:, :, row - 1 : row] if row else nothing(self.x[:, :, :1])
            self.entering = network.rows(before, up[:, row : row + 1], self.features, self.vector, self.above)
        here = self.x[:, :, row : row + 1, column - 1 : column] if column else nothing(self.x[:, :, :1, :1])
        bias = left[:, row : row + 1, column : column + 1]
        return network.pixels(here, self.entering, bias, self.features, self.vector, self.left)[:, :, 0, 0]
