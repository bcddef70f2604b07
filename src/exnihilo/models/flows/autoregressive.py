"""Stacks of autoregressive maps of vectors, over any element map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from exnihilo.nets.masked import MADE
from exnihilo.probability.bijections import Autoregressive, Bijection, Flat
from exnihilo.probability.elements import ElementMap
from exnihilo.probability.mixing import ActNorm, Permutation


def turned(size: int) -> Iterator[Bijection]:
    """The entries the other way round and normalised: the next map conditions in the opposite order."""
    yield Permutation(torch.arange(size).flip(0))
    yield ActNorm(size)


def autoregressive_steps(
    shape: Sequence[int],
    element: Callable[[int], ElementMap],
    *,
    width: int,
    depth: int,
    between: Callable[[int], Iterable[Bijection]] = turned,
) -> Iterator[Bijection]:
    """`depth` autoregressive maps of all entries in a row, by masked networks: (B, *shape) -> (B, D).

    element: how many entries -> their map; between: what stands before every map but the first.
    """
    size = math.prod(shape)
    yield Flat(shape)
    for index in range(depth):
        if index:
            yield from between(size)
        map_ = element(size)
        yield Autoregressive(MADE((size,), map_.count, width=width, depth=2), map_)
