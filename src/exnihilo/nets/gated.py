"""The gated PixelCNN: a stack of convolutions that looks up and one that looks left, and no blind spot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from exnihilo.nets.layers import zero_init
from exnihilo.nets.masked import CausalNetwork, MaskedConv2d, Walk, causal_mask, colour_groups, raster
from exnihilo.nets.shifted import Look, NewPixel, NewRow, ShiftedConv, shift_down

GAIN = 12**0.5  # first weights of standard deviation 2 / sqrt(inputs): a gate lets through about half as much


def gate(h: Tensor) -> Tensor:
    """tanh(first half of the channels) * sigmoid(the other half)."""
    value, door = h.chunk(2, dim=1)
    return value.tanh() * door.sigmoid()


class GatedLayer(nn.Module):
    """y = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h) for both stacks, h the vector.

    van den Oord et al., 2016, arXiv:1606.05328, Eq. 2 and 4, Figure 2. The vertical stack sees rows down to its own and
    is handed on a row lower; the horizontal one sees its row to the left, and is the one with a residual.
    """

    def __init__(self, groups_in: Tensor, groups: Tensor, kernel: int, *, strict: bool, vector: int, dropout: float):
        super().__init__()
        width, half = len(groups), kernel // 2
        doubled = groups.repeat(2)
        mask = causal_mask(kernel, groups_in, doubled, strict)[:, :, half : half + 1, : half + 1]
        self.above = ShiftedConv(len(groups_in), 2 * width, half + 1, kernel, wide=True, gain=GAIN)
        self.feed = nn.Conv2d(2 * width, 2 * width, 1)
        self.beside = ShiftedConv(len(groups_in), 2 * width, 1, half + 1, mask=mask, gain=GAIN)
        self.mix = MaskedConv2d(1, groups, groups)
        self.tell = nn.Linear(vector, 4 * width, bias=False) if vector else None
        self.dropout = nn.Dropout(dropout)
        self.residual = not strict

    def told(self, vector: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What the vector adds in either stack: [B, 2 width, 1, 1]."""
        if self.tell is None or vector is None:
            return None, None
        above, beside = self.tell(vector)[:, :, None, None].chunk(2, dim=1)
        return above, beside

    def up(self, v: Tensor, told: Tensor | None, look: Look) -> tuple[Tensor, Tensor]:
        """The vertical stack, and what it hands to the horizontal one of the row below."""
        inside = look.through(self.above, v)
        inside = inside if told is None else inside + told
        return self.dropout(gate(inside)), self.feed(inside)

    def left(self, h: Tensor, feed: Tensor, told: Tensor | None, look: Look) -> Tensor:
        """The horizontal stack."""
        inside = look.through(self.beside, h) + feed
        inside = inside if told is None else inside + told
        out = self.mix(self.dropout(gate(inside)))
        return h + out if self.residual else out


class GatedPixelCNN(CausalNetwork):
    """A gated layer of kernel 7, `depth` of kernel 3 and two 1 x 1 layers; every earlier entry counts.

    van den Oord et al., 2016, arXiv:1606.05328. Pixels in raster order, in each the colours in theirs. Every place has
    biases of its own, as in `PixelCNN`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        per_entry: int,
        *,
        width: int,
        depth: int,
        kernel: int = 3,
        vector: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape, colours = tuple(shape), shape[0]
        groups = colour_groups(width, colours)
        enter = GatedLayer(torch.arange(colours), groups, 7, strict=True, vector=vector, dropout=0.0)
        deeper = [
            GatedLayer(groups, groups, kernel, strict=False, vector=vector, dropout=dropout) for _ in range(depth)
        ]
        self.layers = nn.ModuleList([enter, *deeper])
        self.place = nn.Parameter(torch.zeros(2, width, *shape[1:]))  # of the vertical and the horizontal stack
        self.mix = MaskedConv2d(1, groups, groups)
        self.leave = MaskedConv2d(1, groups, torch.arange(colours).repeat(per_entry))
        zero_init(self.leave)

    @property
    def stack(self) -> list[GatedLayer]:
        """The layers, by their class."""
        return cast("list[GatedLayer]", list(self.layers))

    def above(self, x: Tensor, place: Tensor, vector: Tensor | None, look: Look) -> list[Tensor]:
        """What every layer of the vertical stack hands on."""
        v, feeds = x, []
        for number, layer in enumerate(self.stack):
            v, feed = layer.up(v, layer.told(vector)[0], look)
            v = v + place if number == 0 else v
            feeds.append(feed)
        return feeds

    def beside(self, x: Tensor, feeds: list[Tensor], place: Tensor, vector: Tensor | None, look: Look) -> Tensor:
        """The parameters, from the horizontal stack."""
        h = x
        for number, (layer, feed) in enumerate(zip(self.stack, feeds, strict=True)):
            h = layer.left(h, feed, layer.told(vector)[1], look)
            h = h + place if number == 0 else h
        return self.leave(relu(self.mix(relu(h))))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        look, (up, left) = Look(), self.place
        feeds = [shift_down(feed) for feed in self.above(x, up, vector, look)]
        return self.beside(x, feeds, left, vector, look)  # (B, per_entry C, H, W)

    def order(self) -> Iterator[tuple[int, ...]]:
        return raster(self.shape)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return GatedWalk(self, n, vector)


class GatedWalk(Walk):
    """The vertical stack a row at a time, the horizontal one a pixel at a time."""

    def __init__(self, network: GatedPixelCNN, n: int, vector: Tensor | None):
        self.network, self.vector = network, vector
        self.x = network.place.new_zeros(n, *network.shape)
        self.rows, self.pixels = NewRow(), NewPixel(network.shape[2])
        width = network.place.shape[1]
        self.feeds = [self.x.new_zeros(n, 2 * width, 1, network.shape[2]) for _ in network.layers]

    def predict(self, place: tuple[int, ...]) -> Tensor:
        colour, row, column = place
        up, left = self.network.place
        if row > self.pixels.row:
            self.rows.row = row - 1
            above = self.x[:, :, row - 1 : row]
            self.feeds = self.network.above(above, up[:, row - 1 : row], self.vector, self.rows)
        self.pixels.row, self.pixels.column = row, column
        feeds = [self.pixels.here(feed) for feed in self.feeds]
        bias = left[:, row : row + 1, column : column + 1]
        answer = self.network.beside(self._pixel(row, column), feeds, bias, self.vector, self.pixels)
        return answer[:, colour :: self.network.shape[0], 0, 0]

    def _pixel(self, row: int, column: int) -> Tensor:
        return self.x[:, :, row : row + 1, column : column + 1]

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        super().write(place, value)
        self.pixels.put(self.network.stack[0].beside, self._pixel(*place[1:]))
