"""PixelRNN: convolutional LSTMs that run over the rows of a picture, or over its diagonals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad, relu

from exnihilo.nets.layers import zero_init
from exnihilo.nets.masked import CausalNetwork, MaskedConv2d, Walk, causal_mask, colour_groups, raster
from exnihilo.nets.pixels import Strip, pointwise
from exnihilo.nets.shifted import NewPixel, ShiftedConv, shift_down


def skew(x: Tensor) -> Tensor:
    """[..., H, W] -> [..., H, W + H - 1]: row r moved r places to the right, so that diagonals become columns."""
    *front, height, width = x.shape
    return (
        pad(x, (0, height))
        .reshape(*front, height * (width + height))[..., : height * (width + height - 1)]
        .reshape(*front, height, width + height - 1)
    )


def unskew(x: Tensor) -> Tensor:
    """The inverse of `skew`."""
    *front, height, both = x.shape
    width = both - height + 1
    return pad(x.reshape(*front, height * both), (0, height)).reshape(*front, height, both + 1)[..., :width]


def lstm(gates: Tensor, c: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """h, c from the gates o, f, i and g, side by side, and the c before.

    van den Oord et al., 2016, arXiv:1601.06759, Eq. 3.
    """
    o, f, i, g = gates.chunk(4, dim=dim)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class LSTMLayer(nn.Module):
    """x + masked 1 x 1 of the states: input-to-state convolution `see`, state-to-state convolution `keep`."""

    def __init__(self, groups: Tensor, hidden: int, *, see: int, keep: int, directions: int, vector: int):
        super().__init__()
        self.hidden = hidden
        states = colour_groups(hidden, int(groups.max()) + 1)
        gates = states.repeat(4 * directions)
        middle = see - 1
        mask = causal_mask(2 * middle + 1, groups, gates, False)[:, :, middle : middle + 1, : middle + 1]
        self.see = ShiftedConv(len(groups), len(gates), 1, see, mask=mask)
        self.keep = nn.Conv1d(directions * hidden, len(gates), keep, padding=0, groups=directions)
        self.tell = nn.Linear(vector, len(gates), bias=False) if vector else None
        self.mix = MaskedConv2d(1, states, groups)

    def told(self, vector: Tensor | None) -> Tensor | float:
        """What the vector adds to the gates: [B, gates, 1, 1], or 0."""
        return 0.0 if self.tell is None or vector is None else self.tell(vector)[:, :, None, None]

    def forward(self, h: Tensor, x: Tensor, vector: Tensor | None) -> Tensor:
        return h + self.mix(self.states(self.see(h) + self.told(vector), x))

    def states(self, gates: Tensor, x: Tensor) -> Tensor:
        """[B, hidden, H, W] from what the gates see of the features, and the picture itself."""
        raise NotImplementedError


class RowLSTM(LSTMLayer):
    """The state of a pixel comes from the three above it: what a pixel sees is a triangle (section 3.1)."""

    def __init__(self, groups: Tensor, hidden: int, vector: int):
        super().__init__(groups, hidden, see=2, keep=3, directions=1, vector=vector)

    def states(self, gates: Tensor, x: Tensor) -> Tensor:
        h = c = torch.zeros_like(gates[:, : self.hidden, 0])
        rows = []
        for inside in gates.unbind(dim=2):
            h, c = lstm(inside + self.kept(h), c)
            rows.append(h)
        return torch.stack(rows, dim=2)

    def kept(self, h: Tensor) -> Tensor:
        """[B, gates, W] from the row above."""
        return self.keep(pad(h, (1, 1)))


class DiagonalBiLSTM(LSTMLayer):
    """The state of a pixel comes from the pixel before it in its row and the one above it, from either side.

    Section 3.2: both directions run over the columns of the skewed map; that from the right is moved a row down, so
    that it knows the rows above only. Between them they see every pixel that came before. Unlike the paper's, the
    direction from the right also looks at the pixels themselves: features, which the first mask hides from their own
    pixel, would not tell it the last one of a row.
    """

    def __init__(self, groups: Tensor, hidden: int, vector: int):
        super().__init__(groups, hidden, see=1, keep=2, directions=2, vector=vector)
        self.look = nn.Conv2d(int(groups.max()) + 1, 4 * hidden, 1, bias=False)

    def states(self, gates: Tensor, x: Tensor) -> Tensor:
        left, right = gates.chunk(2, dim=1)
        both = skew(torch.cat([left, (right + self.look(x)).flip(-1)], dim=1))
        there = skew(torch.ones_like(gates[:1, 0])).unbind(dim=-1)  # no pixel, no state
        h = c = torch.zeros_like(both[:, : 2 * self.hidden, :, 0]).unflatten(1, (2, -1))
        columns = []
        for inside, real in zip(both.unbind(dim=-1), there, strict=True):
            kept = self.keep(pad(h.flatten(1, 2), (1, 0)))  # itself and the one above
            h, c = lstm((inside + kept).unflatten(1, (2, -1)), c, dim=2)
            h, c = h * real, c * real
            columns.append(h)
        left, right = unskew(torch.stack(columns, dim=-1)).unbind(dim=1)  # (B, hidden, H, W)
        return left + shift_down(right.flip(-1))

    def kept(self, direction: int, before: Tensor, above: Tensor) -> Tensor:
        """[n, gates] of one direction from the states [n, hidden] before and above."""
        part = slice(4 * self.hidden * direction, 4 * self.hidden * (direction + 1))
        bias = None if self.keep.bias is None else self.keep.bias[part]
        return conv1d(torch.stack([above, before], dim=2), self.keep.weight[part], bias)[:, :, 0]


class PixelRNN(CausalNetwork):
    """A masked 7 x 7 convolution, `depth` LSTM layers with residuals and two 1 x 1 layers.

    van den Oord et al., 2016, arXiv:1601.06759, Table 1. Pixels in raster order, in each the colours in theirs. Every
    place has its own learned bias, as in `PixelCNN`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        per_entry: int,
        *,
        layer: Literal["row", "diagonal"],
        width: int,
        depth: int,
        vector: int = 0,
    ):
        super().__init__()
        self.shape, colours = tuple(shape), shape[0]
        groups = colour_groups(width, colours)
        build = RowLSTM if layer == "row" else DiagonalBiLSTM
        self.enter = MaskedConv2d(7, torch.arange(colours), groups, strict=True)
        self.place = nn.Parameter(torch.zeros(width, *shape[1:]))
        self.layers = nn.ModuleList([build(groups, max(colours, width // 2), vector) for _ in range(depth)])
        self.mix = MaskedConv2d(1, groups, groups)
        self.leave = MaskedConv2d(1, groups, torch.arange(colours).repeat(per_entry))
        zero_init(self.leave)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        h = self.enter(x) + self.place  # (B, width, H, W)
        for layer in self.layers:
            h = layer(h, x, vector)
        return self.leave(relu(self.mix(relu(h))))  # (B, per_entry C, H, W)

    def order(self) -> Iterator[tuple[int, ...]]:
        return raster(self.shape)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return RecurrentWalk(self, n, vector)


class RowMemory:
    """What a row LSTM keeps: the states of the row above, and what they say; the row that is being made."""

    def __init__(self, layer: RowLSTM, n: int, width: int, vector: Tensor | None):
        self.layer, self.told = layer, layer.told(vector)
        self.h, self.c = layer.keep.weight.new_zeros(2, n, layer.hidden, width)
        self.above_c, self.kept = self.c.clone(), layer.kept(self.h)

    def next_row(self, x: Tensor) -> None:
        """The row is made, of the pixels x [n, C, 1, W]."""
        self.above_c, self.kept = self.c.clone(), self.layer.kept(self.h)

    def state(self, x: Tensor, look: NewPixel) -> Tensor:
        """[n, hidden, 1, 1] of the pixel that is looked at, from its features."""
        column = look.column
        inside = (look.through(self.layer.see, x) + self.told)[:, :, 0, 0]
        h, c = lstm(inside + self.kept[:, :, column], self.above_c[:, :, column])
        self.h[:, :, column], self.c[:, :, column] = h, c
        return h[:, :, None, None]


class DiagonalMemory:
    """What a diagonal LSTM keeps: from the left, the states of the row above and of the one being made; from the right,
    those of the row above, found when it is made."""

    def __init__(self, layer: DiagonalBiLSTM, n: int, width: int, vector: Tensor | None):
        self.layer, self.told = layer, layer.told(vector)
        empty = layer.keep.weight.new_zeros(n, layer.hidden, width + 1)  # one more: what is before the first
        self.above, self.h, self.c = empty, empty.clone(), empty.clone()
        self.right = empty[:, :, 1:].clone()
        self.gates = empty.new_zeros(n, 4 * layer.hidden, width)  # of the right, as the row goes on

    def next_row(self, x: Tensor) -> None:
        """The row is made, of the pixels x [n, C, 1, W]: it is read from the right."""
        right, gates = torch.zeros_like(self.right), self.gates + self.layer.look(x)[:, :, 0]
        h = c = torch.zeros_like(right[:, :, 0])
        for column in reversed(range(right.shape[2])):
            kept = self.layer.kept(1, h, self.right[:, :, column])
            h, c = lstm(gates[:, :, column] + kept, c)
            right[:, :, column] = h
        self.right, self.above, self.h, self.c = right, self.h, torch.zeros_like(self.h), torch.zeros_like(self.c)

    def state(self, x: Tensor, look: NewPixel) -> Tensor:
        """[n, hidden, 1, 1] of the pixel that is looked at, from its features."""
        column = look.column
        left, self.gates[:, :, column] = (look.through(self.layer.see, x) + self.told)[:, :, 0, 0].chunk(2, dim=1)
        kept = self.layer.kept(0, self.h[:, :, column], self.above[:, :, column + 1])
        h, c = lstm(left + kept, self.c[:, :, column])
        self.h[:, :, column + 1], self.c[:, :, column + 1] = h, c
        return (h + self.right[:, :, column])[:, :, None, None]


class RecurrentWalk(Walk):
    """One step of every LSTM a pixel, from the states it keeps."""

    def __init__(self, network: PixelRNN, n: int, vector: Tensor | None):
        self.network, width = network, network.shape[2]
        self.x = network.place.new_zeros(n, *network.shape)
        self.pixels = Strip(network.place, n, width, network.enter)
        self.look = NewPixel(width)
        self.memories = [
            RowMemory(layer, n, width, vector)
            if isinstance(layer, RowLSTM)
            else DiagonalMemory(cast("DiagonalBiLSTM", layer), n, width, vector)
            for layer in network.layers
        ]

    def predict(self, place: tuple[int, ...]) -> Tensor:
        network, (colour, row, column) = self.network, place
        if row > self.look.row:
            self.pixels.next_row()
            for memory in self.memories:
                memory.next_row(self.x[:, :, row - 1 : row])
        self.look.row, self.look.column = row, column
        h = self.pixels.convolve(column) + network.place[:, row, column]
        for memory in self.memories:
            state = memory.state(h[:, :, None, None], self.look)
            h = h + pointwise(memory.layer.mix, state[:, :, 0, 0])
        return pointwise(network.leave, relu(pointwise(network.mix, relu(h))))[:, colour :: network.shape[0]]

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        row, column = place[1:]
        super().write(place, value)
        self.pixels.put(column, self.x[:, :, row, column])
