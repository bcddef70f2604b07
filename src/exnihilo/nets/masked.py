"""Networks that see only what came before: causal masks, masked layers, walks, and the MADE built of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from exnihilo.nets.layers import zero_init

EMBEDDING = 16  # longest vector that stands for a category
PARTS = 4  # in which the product with a masked matrix is computed
WORTH_PARTING = 2**13  # weights, below which it is one product


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
        mask = causal_mask(kernel, groups_in, groups_out, strict).float()  # booleans would be converted in every pass
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.empty(mask.shape))
        self.bias = nn.Parameter(torch.zeros(len(groups_out)))
        self.middle = kernel // 2
        bound = 1 / math.sqrt(max(1.0, float(mask.sum()) / len(mask)))  # torch's own rule, counting open weights only
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.rows(), self.bias, padding=self.middle)[:, :, : x.shape[2]]

    def rows(self) -> Tensor:
        """[out, in, middle + 1, kernel] the weights without the rows below the centre, all of which are closed."""
        return (self.weight * self.mask)[:, :, : self.middle + 1]

    def matrix(self) -> Tensor:
        """[out, columns * rows * in] the weights that act on a window of a `Strip`."""
        return self.rows().permute(0, 3, 2, 1).reshape(len(self.weight), -1).contiguous()


class MaskedWeight(nn.Module):
    """W x where a unit of degree m sees inputs of degree m and less, or (strict) less than m only.

    Germain et al., 2015, arXiv:1502.03509, Eq. 12 and 13. degrees_in [in], degrees_out [out].
    """

    mask: Tensor

    def __init__(self, degrees_in: Tensor, degrees_out: Tensor, *, strict: bool = False):
        super().__init__()
        mask = degrees_in < degrees_out[:, None] if strict else degrees_in <= degrees_out[:, None]  # [out, in]
        self.register_buffer("mask", mask.float(), persistent=False)
        self.weight = nn.Parameter(torch.empty(mask.shape))
        bound = 1 / math.sqrt(max(1.0, float(mask.sum()) / len(mask)))
        nn.init.uniform_(self.weight, -bound, bound)
        self.blocks = open_blocks(mask)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, None)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """W x + bias; without gradients block by block: below a diagonal more than a third of the work is spared."""
        weight = self.weight * self.mask
        if torch.is_grad_enabled() or len(self.blocks) == 1:  # gradients of blocks would be copied
            return linear(x, weight, bias)
        parts = [
            linear(x[..., columns], weight[rows, columns], None if bias is None else bias[rows])
            for rows, columns in self.blocks
        ]
        return torch.cat(parts, dim=-1)


class MaskedLinear(MaskedWeight):
    """The same and a bias."""

    def __init__(self, degrees_in: Tensor, degrees_out: Tensor, *, strict: bool = False):
        super().__init__(degrees_in, degrees_out, strict=strict)
        self.bias = nn.Parameter(torch.zeros(len(degrees_out)))

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.bias)


def open_blocks(mask: Tensor) -> list[tuple[slice, slice]]:
    """Rows in up to PARTS parts, each with the columns between which all its open weights lie; or one, of everything.

    One where the weights are few, or a sixth of them or less could be left out.
    """
    whole = [(slice(0, mask.shape[0]), slice(0, mask.shape[1]))]
    if mask.numel() < WORTH_PARTING:
        return whole
    blocks, size = [], -(-len(mask) // PARTS)
    for start in range(0, len(mask), size):
        seen = mask[start : start + size].any(dim=0).nonzero()[:, 0].tolist() or [0]
        blocks.append((slice(start, min(start + size, len(mask))), slice(seen[0], seen[-1] + 1)))
    used = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in blocks)
    return blocks if used < mask.numel() * 5 / 6 else whole


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


def raster(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The places of a picture (C, H, W): pixels row by row, in each the colours in their order."""
    colours, height, breadth = shape
    return ((k, i, j) for i in range(height) for j in range(breadth) for k in range(colours))


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


class MaskedNetwork(CausalNetwork):
    """Fully connected layers in which a number sees those of lower rank alone: the body of every MADE.

    Germain et al., 2015, arXiv:1502.03509, Eq. 12 and 13. ranks_in, ranks_out: of the inputs and the answers, from 1;
    hidden: the degrees of every hidden layer, whose units see inputs up to their degree. A `vector` is added to every
    hidden layer; units of degree 0 see nothing else and tell all answers, the first too. direct: the answer is told the
    inputs as well, past the hidden layers (section 4.1 there), so that these have to learn only what is not linear. The
    answer starts at zero.
    """

    def __init__(
        self, ranks_in: Tensor, hidden: Sequence[Tensor], ranks_out: Tensor, *, vector: int = 0, direct: bool = False
    ):
        super().__init__()
        self.degrees = [ranks_in, *hidden]
        self.layers = nn.ModuleList([MaskedLinear(*self.degrees[k : k + 2]) for k in range(len(hidden))])
        widths = [len(degrees) for degrees in hidden] or [len(ranks_out)]
        self.shifts = nn.ModuleList([nn.Linear(vector, width, bias=False) for width in widths if vector])
        self.leave = MaskedLinear(self.degrees[-1], ranks_out, strict=True)
        zero_init(self.leave)
        self.direct = MaskedWeight(ranks_in, ranks_out, strict=True) if direct else None
        if self.direct is not None:
            zero_init(self.direct)

    def told(self, k: int, h: Tensor, vector: Tensor | None) -> Tensor:
        """h with what the vector adds to hidden layer k, or to the answer where there is no hidden layer."""
        return h + self.shifts[k](vector) if len(self.shifts) and vector is not None else h

    def answer(self, h: Tensor, vector: Tensor | None) -> Tensor:
        """[B, answers] from the inputs [B, inputs]."""
        past = None if self.direct is None else self.direct(h)
        for k, layer in enumerate(self.layers):
            h = self.told(k, layer(h), vector).relu_()  # [B, width]; in place: memory is what takes time here
        answer = self.leave(h) if past is None else past + self.leave(h)
        return answer if len(self.layers) else self.told(0, answer, vector)


class MADE(MaskedNetwork):
    """A masked network of the entries of an example: entry d depends on the entries before d alone, in an order.

    Germain et al., 2015, arXiv:1502.03509. Hidden units have degrees 1 ... D - 1, the same in every layer
    (with a vector from 0 on). categories: entries are integers, embedded. depth 0: every entry is a linear function of
    those before it, plus one of the vector; direct: the same beside hidden layers. order [D]: the entries, first to
    last, by their numbers in raster order, which is the default.
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
        order: Tensor | None = None,
        degrees: Sequence[Tensor] = (),
        direct: bool = False,
    ):
        entries, each = math.prod(shape), min(categories, EMBEDDING) if categories else 1
        sequence = list(range(entries)) if order is None else [int(entry) for entry in order]
        ranks = torch.empty(entries, dtype=torch.int64)
        ranks[sequence] = torch.arange(entries) + 1
        hidden = list(degrees) or [hidden_degrees(width, entries, from_zero=vector > 0)] * depth
        super().__init__(ranks.repeat_interleave(each), hidden, ranks.repeat(per_entry), vector=vector, direct=direct)
        self.shape, self.per_entry, self.sequence, self.categories = tuple(shape), per_entry, sequence, categories
        self.read = Categories(categories, each) if categories else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.answer(self.read(x.flatten(1)), vector).view(len(x), -1, *self.shape[1:])

    def order(self) -> Iterator[tuple[int, ...]]:
        return (place_of(entry, self.shape) for entry in self.sequence)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return MADEWalk(self, n, vector)

    def masked_anew(self, order: Tensor, degrees: Sequence[Tensor]) -> MADE:
        """The same weights under other masks (section 4.2 of the paper): another order, other hidden degrees."""
        width = len(degrees[0]) if degrees else 1
        sizes = {"width": width, "depth": len(degrees), "categories": self.categories}
        direct = self.direct is not None
        other = MADE(self.shape, self.per_entry, **sizes, order=order, degrees=degrees, direct=direct)
        other.read, other.shifts = self.read, self.shifts
        for mine, its in zip([*self.layers, self.leave], [*other.layers, other.leave], strict=True):
            its.weight, its.bias = mine.weight, mine.bias
        if self.direct is not None and other.direct is not None:
            other.direct.weight = self.direct.weight
        return other


def hidden_degrees(width: int, entries: int, *, from_zero: bool = False) -> Tensor:
    """[width] the degrees of hidden units: 1 ... entries - 1, from 0 on where a vector is seen as well.

    They rise, each as often as the others; where there are fewer units than degrees they are spread evenly, else late
    inputs would never be seen.
    """
    first = 0 if from_zero else 1
    return torch.arange(width) * max(1, entries - first) // width + first


def place_of(entry: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The place in an example of this shape that has a number in raster order."""
    place: list[int] = []
    for side in reversed(shape):
        entry, index = divmod(entry, side)
        place.insert(0, index)
    return tuple(place)


def entry_at(place: Sequence[int], shape: Sequence[int]) -> int:
    """The number in raster order of a place in an example of this shape."""
    entry = 0
    for index, side in zip(place, shape, strict=True):
        entry = entry * side + index
    return entry


class MADEWalk(Walk):
    """Computes every hidden unit once: as soon as the entries that it sees are written.

    Inputs and units stand sorted by their degrees here, so that what is known is always the first so many of a layer,
    all of whose weights to what is new are open.
    """

    def __init__(self, network: MADE, n: int, vector: Tensor | None):
        like, entries = network.leave.weight, math.prod(network.shape)
        layers = cast("list[MaskedLinear]", [*network.layers, network.leave])
        self.network, self.known = network, 0
        self.x = like.new_zeros(n, *network.shape)
        self.values = [like.new_zeros(n, len(degrees)) for degrees in network.degrees]
        counts = [torch.bincount(degrees, minlength=entries + 1) for degrees in network.degrees]
        self.ends = [[0, *count.cumsum(dim=0).tolist()] for count in counts]  # [m]: units of a degree below m
        sorts = [degrees.argsort(stable=True).to(like.device) for degrees in network.degrees]
        sorts.append(torch.arange(len(network.leave.bias), device=like.device))  # the answers stay where they are
        self.weights = [layer.weight[sorts[k + 1]][:, sorts[k]] for k, layer in enumerate(layers)]
        self.direct = None if network.direct is None else network.direct.weight[:, sorts[0]]
        told = len(network.layers) or 1  # layers that the vector reaches
        self.biases = [
            (network.told(k, layer.bias, vector) if k < told else layer.bias).expand(n, -1)[:, sorts[k + 1]]
            for k, layer in enumerate(layers)
        ]

    def predict(self, place: tuple[int, ...]) -> Tensor:
        for k, ends in enumerate(self.ends[1:]):
            new = slice(ends[self.known], ends[self.known + 1])
            if new.start < new.stop:
                self.values[k + 1][:, new] = self._through(k, new).relu_().to(self.x)
        here = slice(entry_at(place, self.network.shape), None, math.prod(self.network.shape))
        answer = self._through(-1, here)
        if self.direct is None:
            return answer
        seen = self.ends[0][self.known + 1]
        return answer + linear(self.values[0][:, :seen], self.direct[here, :seen])

    def _through(self, k: int, rows: slice) -> Tensor:
        """Some rows of layer k, of what is known."""
        seen = self.ends[k if k >= 0 else len(self.ends) - 1][self.known + 1]
        return linear(self.values[k][:, :seen], self.weights[k][rows, :seen]) + self.biases[k][:, rows]

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        super().write(place, value)
        self.known += 1
        here = slice(self.ends[0][self.known], self.ends[0][self.known + 1])
        self.values[0][:, here] = self.network.read(value[:, None])
