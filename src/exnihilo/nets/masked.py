"""Networks that see only what came before: causal masks, masked convolutions and the PixelCNN built of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, relu

from exnihilo.nets.layers import zero_init

EMBEDDING = 16  # longest vector that stands for a category


def causal_mask(kernel: int, groups_in: Tensor, groups_out: Tensor, strict: bool) -> Tensor:
    """[out, in, kernel, kernel] booleans, True where a masked convolution is open, in raster order.

    van den Oord et al., 2016, arXiv:1601.06759, Figure 2 and Section 3.4. Rows above the centre are open, and the same
    row to its left; at the centre, colour group a feeds group b if a < b (strict, mask A: the first layer) or a <= b
    (mask B). groups_in [in], groups_out [out]: the colour of every channel.
    """
    middle = kernel // 2
    place = torch.arange(kernel * kernel)
    before = (place < middle * kernel + middle).view(kernel, kernel)
    centre = (place == middle * kernel + middle).view(kernel, kernel)
    earlier = groups_in < groups_out[:, None] if strict else groups_in <= groups_out[:, None]  # [out, in]
    return before | (centre & earlier[:, :, None, None])


def colour_groups(channels: int, colours: int) -> Tensor:
    """[channels] the colour that each hidden channel belongs to, in equal blocks in the colours' order."""
    return torch.arange(channels) * colours // channels


class MaskedConv2d(nn.Module):
    """A convolution whose weights from later pixels are zero; sides are kept by padding with zeros."""

    mask: Tensor

    def __init__(self, kernel: int, groups_in: Tensor, groups_out: Tensor, *, strict: bool = False):
        super().__init__()
        mask = causal_mask(kernel, groups_in, groups_out, strict)
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.empty(mask.shape))
        self.bias = nn.Parameter(torch.zeros(len(groups_out)))
        self.middle = kernel // 2
        bound = 1 / math.sqrt(max(1.0, float(mask.sum()) / len(mask)))  # torch's own rule, counting open weights only
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight * self.mask, self.bias, padding=self.middle)

    def matrix(self) -> Tensor:
        """[out, columns * rows * in] the weights that act on a window of a `Strip`."""
        rows = (self.weight * self.mask)[:, :, : self.middle + 1]
        return rows.permute(0, 3, 2, 1).reshape(len(self.weight), -1).contiguous()


class MaskedLinear(nn.Module):
    """A linear layer whose unit of degree m sees inputs of degree m and less, or (strict) less than m only.

    Germain et al., 2015, arXiv:1502.03509, Eq. 12 and 13. degrees_in [in], degrees_out [out].
    """

    mask: Tensor

    def __init__(self, degrees_in: Tensor, degrees_out: Tensor, *, strict: bool = False):
        super().__init__()
        mask = degrees_in < degrees_out[:, None] if strict else degrees_in <= degrees_out[:, None]  # [out, in]
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.empty(mask.shape))
        self.bias = nn.Parameter(torch.zeros(len(degrees_out)))
        bound = 1 / math.sqrt(max(1.0, float(mask.sum()) / len(mask)))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight * self.mask, self.bias)


class Categories(nn.Module):
    """Integers as learned vectors: [B, C, ...] -> [B, C * size, ...] in C blocks, for what has no order."""

    def __init__(self, categories: int, size: int):
        super().__init__()
        self.embedding = nn.Embedding(categories, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(x.long()).movedim(-1, 2).flatten(1, 2)


class CausalNetwork(nn.Module):
    """Parameters for every entry of x that depend on earlier entries only, in the order of `order()`.

    forward(x [B, *shape], vector [B, ...] or None) -> [B, per_entry * shape[0], *shape[1:]].
    """

    shape: tuple[int, ...]  # of one example

    def order(self) -> Iterator[tuple[int, ...]]:
        """The places (indices into one example), first to last."""
        raise NotImplementedError

    def walk(self, n: int, vector: Tensor | None) -> Walk:
        """A walk over n examples at once, from before the first place. A network that can go faster says how."""
        return FullWalk(self, n, vector)


def at(place: tuple[Any, ...]) -> Any:
    """The index of a place in every example of a batch."""
    return (slice(None), *place)


class Walk:
    """Going through the places in order: `predict` what stands there, `write` what does. `x` [n, *shape] is so far."""

    x: Tensor

    def predict(self, place: tuple[int, ...]) -> Tensor:
        """[n, per_entry] the parameters at a place, given all that was written."""
        raise NotImplementedError

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        """Put values [n] at a place."""
        self.x[at(place)] = value


class FullWalk(Walk):
    """The walk that any causal network can do: a whole pass for every place."""

    def __init__(self, network: CausalNetwork, n: int, vector: Tensor | None):
        self.network, self.vector = network, vector
        self.x = next(network.parameters()).new_zeros(n, *network.shape)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        parameters = self.network(self.x, self.vector).unflatten(1, (-1, self.x.shape[1]))  # [n, per_entry, *shape]
        return parameters[at((slice(None), *place))]


class MADE(CausalNetwork):
    """A fully connected network with masked weights: entry d depends on entries before d alone, in raster order.

    Germain et al., 2015, arXiv:1502.03509. Hidden units have degrees 1 ... D - 1 in turn, the same in every layer, and
    see inputs up to their degree. A `vector` is added to every hidden layer; units of degree 0, which exist with one
    only, see nothing else and tell all entries, the first too. categories: entries are integers, embedded. The answer
    starts at zero.
    """

    def __init__(
        self,
        shape: Sequence[int],
        per_entry: int,
        *,
        width: int,
        depth: int = 1,
        vector: int = 0,
        categories: int = 0,
    ):
        super().__init__()
        self.shape = tuple(shape)
        entries = torch.arange(math.prod(shape)) + 1
        each = min(categories, EMBEDDING) if categories else 1
        self.read = Categories(categories, each) if categories else nn.Identity()
        degrees = hidden_degrees(width, len(entries), from_zero=vector > 0)
        inputs = entries.repeat_interleave(each)
        self.layers = nn.ModuleList([MaskedLinear(inputs if k == 0 else degrees, degrees) for k in range(depth)])
        self.shifts = nn.ModuleList([nn.Linear(vector, width, bias=False) for _ in range(depth if vector else 0)])
        self.leave = MaskedLinear(degrees, entries.repeat(per_entry), strict=True)
        zero_init(self.leave)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        h = self.read(x.flatten(1))
        for k, layer in enumerate(self.layers):
            h = layer(h)
            if len(self.shifts) and vector is not None:
                h = h + self.shifts[k](vector)
            h = relu(h)  # [B, width]
        return self.leave(h).view(len(x), -1, *self.shape[1:])

    def order(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*map(range, self.shape))


def hidden_degrees(width: int, entries: int, *, from_zero: bool = False) -> Tensor:
    """[width] the degrees of hidden units in turn: 1 ... entries - 1, from 0 on where a vector is seen as well."""
    first = 0 if from_zero else 1
    return torch.arange(width) % max(1, entries - first) + first


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
        colours, height, breadth = self.shape
        return ((k, i, j) for i in range(height) for j in range(breadth) for k in range(colours))

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
