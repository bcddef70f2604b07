"""Invertible maps with their log-determinants: the parts of which flows are made.

Every map goes from data towards the base variable: `forward(x)` answers (u, log|det du/dx| [B]), `inverse(u)` answers
x. (torch.distributions composes its transforms the other way round; half of all mistakes with flows are that sign.)
A map may be told a vector beside x, one per example: then it is a family of maps, and inverts given the same vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from exnihilo.probability.elements import ElementMap
from exnihilo.probability.partitions import Partition


class Bijection(nn.Module):
    """u = f(x; vector) with an inverse. A map may take its starting values from data, once, by `initialise`.

    vector: [B, V] what the map is told of every example beside x; most maps do not listen.
    """

    compilable: bool = True  # False where the log-determinant is itself made of derivatives

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(u, log|det du/dx| [B]); the log-determinant is in nats, summed over all entries."""
        raise NotImplementedError

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        """The x with forward(x, vector)[0] == u, up to rounding."""
        raise NotImplementedError

    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        """Set starting values from examples [N, ...]; most maps need none."""


class Chain(Bijection):
    """f = f_n o ... o f_1, applied in the order given; log-determinants add."""

    def __init__(self, bijections: Iterable[Bijection]):
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for bijection in self.bijections:
            x, log_det = bijection(x, vector)
            total = total + log_det
        return x, total

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        for bijection in reversed(self.bijections):
            u = bijection.inverse(u, vector)  # type: ignore[operator]
        return u

    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        for bijection in self.bijections:
            bijection.initialise(x, vector)  # type: ignore[operator]
            x = bijection(x, vector)[0]


class Inverse(Bijection):
    """The same map taken the other way: u = f^-1(x), log|det du/dx| = -log|det df/du|."""

    def __init__(self, bijection: Bijection):
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = self.bijection.inverse(x, vector)
        return u, -self.bijection(u, vector)[1]

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.bijection(u, vector)[0]


class Standardise(Bijection):
    """u = (x - mean) / scale, entry by entry, with the mean and standard deviation of the data it was initialised on.

    Both are buffers, not weights. Caution: a (nearly) constant entry is stretched to unit variance; `floor` bounds it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int], floor: float = 1e-3):
        super().__init__()
        self.floor = floor
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("scale", torch.ones(*shape))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.scale, -self.scale.log().sum().expand(len(x))

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return u * self.scale + self.mean

    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_(x.std(dim=0, correction=0).clamp(min=self.floor))


class Logit(Bijection):
    """u = log(y / (1 - y)) with y = edge + (1 - 2 edge) (x - low) / (high - low): ends of a range are stretched.

    Dinh et al., 2017, arXiv:1605.08803, Section 4.1, where edge = 0.05. Outside [low, high] it goes on along its
    tangents, so it is a bijection of all numbers and finite everywhere, and samples overshoot the range but little.
    """

    def __init__(self, low: float, high: float, edge: float = 0.05):
        super().__init__()
        self.low, self.rate, self.edge = low, (1 - 2 * edge) / (high - low), edge
        self.knot = math.log(1 - edge) - math.log(edge)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self.edge + (x - self.low) * self.rate
        inside = y.clamp(self.edge, 1 - self.edge)
        slope = 1 / (inside * (1 - inside))
        u = inside.logit() + (y - inside) * slope
        return u, (slope * self.rate).log().flatten(1).sum(dim=1)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        inside = u.clamp(-self.knot, self.knot)
        y = inside.sigmoid()
        y = y + (u - inside) * y * (1 - y)
        return (y - self.edge) / self.rate + self.low


class Flat(Bijection):
    """(B, *shape) <-> (B, D): entries in a row."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return u.reshape(len(u), *self.shape)


class Squeeze(Bijection):
    """(B, C, H, W) <-> (B, rows columns C, H / rows, W / columns): blocks of pixels become channels; a permutation.

    Dinh et al., 2017, arXiv:1605.08803, Section 3.6. Channel (r columns + c) C + k holds colour k of the block's pixel
    (r, c), so a set of pixels of the block is a set of channels: with 2 x 2 blocks, the pixels 0 and 3 are one colour
    of the checkerboard.
    """

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        n, channels, height, width = x.shape
        blocks = x.reshape(n, channels, height // self.rows, self.rows, width // self.columns, self.columns)
        u = blocks.permute(0, 3, 5, 1, 2, 4)  # (B, rows, columns, C, H / rows, W / columns)
        return u.reshape(n, -1, height // self.rows, width // self.columns), x.new_zeros(n)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        n, (height, width) = len(u), u.shape[2:]
        blocks = u.reshape(n, self.rows, self.columns, -1, height, width)
        x = blocks.permute(0, 3, 4, 1, 5, 2)  # (B, C, H, rows, W, columns)
        return x.reshape(n, -1, height * self.rows, width * self.columns)


class Coupling(Bijection):
    """u_kept = x_kept,  u_changed = g(x_changed; network(x_kept)).

    Dinh et al., 2017, arXiv:1605.08803, Eq. 4-5. The Jacobian is triangular, so its log-determinant is the sum of the
    log-slopes, and the inverse costs the same single pass of the network. network: what the partition keeps (and, if
    there is one, the vector) -> [B, element.count * n, ...] for n changed entries of dimension 1. Caution: one coupling
    leaves the kept entries as they are, so at least two with complementary partitions are needed.
    """

    def __init__(self, partition: Partition, network: nn.Module, element: ElementMap):
        super().__init__()
        self.partition, self.network, self.element = partition, network, element

    def answer(self, kept: Tensor, changed: Tensor, vector: Tensor | None) -> Tensor:
        """[B, count, n, ...] the parameters for the changed entries."""
        parameters = self.network(kept) if vector is None else self.network(kept, vector)
        parameters = parameters.to(changed.dtype)  # a network in half precision must not round the density
        return parameters.view(len(changed), self.element.count, *changed.shape[1:])

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = self.partition.split(x)
        changed, log_slope = self.element(changed, self.answer(kept, changed, vector))
        return self.partition.merge(x, changed), self.partition.total(log_slope)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        kept, changed = self.partition.split(u)
        return self.partition.merge(u, self.element.inverse(changed, self.answer(kept, changed, vector)))


class Elementwise(Bijection):
    """u = g(x; parameters) with learned parameters of every entry that depend on nothing: the shape of the marginals.

    They start at zero.
    """

    def __init__(self, shape: Sequence[int], element: ElementMap):
        super().__init__()
        self.element = element
        self.settings = nn.Parameter(torch.zeros(1, element.count, *shape))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, log_slope = self.element(x, self.settings)
        return u, log_slope.expand_as(x).flatten(1).sum(dim=1)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.element.inverse(u, self.settings)


class Walk(Protocol):
    """Going through the entries in order: `predict` what stands there, `write` what does; `x` [n, D] is so far."""

    x: Tensor

    def predict(self, place: tuple[int, ...]) -> Tensor: ...

    def write(self, place: tuple[int, ...], value: Tensor) -> None: ...


class Causal(Protocol):
    """A network whose answer about an entry depends on the entries before it in an order (`nets.masked`)."""

    def __call__(self, x: Tensor, vector: Tensor | None) -> Tensor: ...

    def order(self) -> Iterator[tuple[int, ...]]: ...

    def walk(self, n: int, vector: Tensor | None) -> Walk: ...


class Autoregressive(Bijection):
    """u_i = g(x_i; network(x_<i)) of vectors [B, D]: the Jacobian is triangular.

    Papamakarios et al., 2017, arXiv:1705.07057, Eq. 3-6, with any element map. network: causal, [B, D] ->
    [B, element.count * D], parameter by parameter. Caution: the inverse goes entry by entry; where gradients are
    wanted it takes D passes of the network, else a walk through it.
    """

    def __init__(self, network: Causal, element: ElementMap):
        super().__init__()
        self.network, self.element = network, element

    def answer(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        """[B, count, D]."""
        return self.network(x, vector).to(x.dtype).view(len(x), self.element.count, -1)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, log_slope = self.element(x, self.answer(x, vector))
        return u, log_slope.sum(dim=1)

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled():
            order = self.network.order()
            return entry_by_entry(lambda x: self.element.inverse(u, self.answer(x, vector)), u, order)
        walk = self.network.walk(len(u), vector)
        for place in self.network.order():
            parameters = walk.predict(place).to(u.dtype)[:, :, None]  # [B, count, 1]
            walk.write(place, self.element.inverse(u[:, place[0], None], parameters)[:, 0])
        return walk.x


def entry_by_entry(
    guess: Callable[[Tensor], Tensor], like: Tensor, order: Iterable[tuple[int, ...]] | None = None
) -> Tensor:
    """The x [B, D] with guess(x) = x, where an entry of the guess depends on the entries of x before it alone.

    order: the entries, first to last; by default as they stand.
    """
    x = torch.zeros_like(like)
    place = torch.arange(like.shape[1], device=like.device)
    for (entry,) in order or zip(range(like.shape[1]), strict=True):
        x = torch.where(place == entry, guess(x), x)
    return x


class MultiScale(Bijection):
    """Scale after scale, half of the channels are done and leave, the others go on: (B, C, H, W) -> (B, D).

    Dinh et al., 2017, arXiv:1605.08803, Eq. 13-15. What leaves is part of u like the rest, so the base sees all D
    entries at once. shapes: of what leaves after each scale, the last one whole.
    """

    def __init__(self, scales: Iterable[Bijection], shapes: Sequence[Sequence[int]]):
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.shapes = [tuple(shape) for shape in shapes]

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        done, total = [], x.new_zeros(len(x))
        for scale, shape in zip(self.scales, self.shapes, strict=True):
            x, log_det = scale(x, vector)
            total = total + log_det
            leaving, x = x[:, : shape[0]], x[:, shape[0] :]
            done.append(leaving.flatten(1))
        return torch.cat(done, dim=1), total

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        parts = u.split([math.prod(shape) for shape in self.shapes], dim=1)
        x: Tensor | None = None
        for scale, shape, part in reversed(list(zip(self.scales, self.shapes, parts, strict=True))):
            leaving = part.reshape(len(u), *shape)
            x = scale.inverse(leaving if x is None else torch.cat([leaving, x], dim=1), vector)  # type: ignore[operator]
        assert x is not None
        return x

    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        for scale, shape in zip(self.scales, self.shapes, strict=True):
            scale.initialise(x, vector)  # type: ignore[operator]
            x = scale(x, vector)[0][:, shape[0] :]
