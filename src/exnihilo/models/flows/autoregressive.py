"""Stacks of autoregressive maps of vectors, over any element map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from exnihilo.nets.masked import MADE
from exnihilo.probability.bijections import Autoregressive, Bijection, Flat
from exnihilo.probability.elements import ElementMap
from exnihilo.probability.mixing import ActNorm


def normalised(size: int) -> Iterator[Bijection]:
    """What enters a map has mean 0 and variance 1 at the start."""
    yield ActNorm(size)


def autoregressive_steps(
    shape: Sequence[int],
    element: Callable[[], ElementMap],
    *,
    width: int,
    depth: int,
    vector: int = 0,
    between: Callable[[int], Iterable[Bijection]] = normalised,
) -> Iterator[Bijection]:
    """`depth` autoregressive maps of all entries in a row, by masked networks: (B, *shape) -> (B, D).

    Every other map takes the entries from last to first. vector: length of what the networks are told beside; between:
    what stands before every map but the first.
    """
    size = math.prod(shape)
    yield Flat(shape)
    for index in range(depth):
        if index:
            yield from between(size)
        map_ = element()
        order = torch.arange(size) if index % 2 == 0 else torch.arange(size).flip(0)
        yield Autoregressive(MADE((size,), map_.count, width=width, depth=2, vector=vector, order=order), map_)
