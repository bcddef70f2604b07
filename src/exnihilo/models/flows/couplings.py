"""Stacks of couplings for vectors and for images, over any element map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from exnihilo.core import ModelError
from exnihilo.nets.layers import zero_init
from exnihilo.nets.mlp import MLP
from exnihilo.nets.resnet import ConvResNet
from exnihilo.probability.bijections import Bijection, Chain, Coupling, ElementMap, Flat, MultiScale, Squeeze
from exnihilo.probability.partitions import Checkerboard, Entries, Partition

SMALLEST = 8  # the shorter side below which an image is not halved any further


def flat_couplings(
    shape: Sequence[int],
    element: Callable[[int], ElementMap],
    *,
    width: int,
    depth: int,
    dropout: float = 0.0,
) -> Iterator[Bijection]:
    """`depth` couplings of all entries in a row, by fully connected networks: (B, *shape) -> (B, D).

    A random half is kept and the other changed, then the other way round, then another random half: after two
    couplings every entry has been changed. element: how many entries -> their map.
    """
    size = math.prod(shape)
    if size < 2:
        raise ModelError(
            "A coupling changes some entries given the others, so data of one number has none. Try gmm or kde."
        )
    yield Flat(shape)
    keep = torch.zeros(size, dtype=torch.bool)
    for index in range(depth):
        if index % 2 == 0:
            keep = torch.zeros(size, dtype=torch.bool)
            keep[torch.randperm(size)[: size // 2]] = True
        else:
            keep = ~keep
        changed = int((~keep).sum())
        map_ = element(changed)
        network = MLP((size - changed,), (map_.count * changed,), width, activation=torch.nn.ReLU, dropout=dropout)
        zero_init(network.head)
        yield Coupling(Entries(keep), network, map_)


def image_couplings(
    shape: Sequence[int],
    element: Callable[[int], ElementMap],
    *,
    width: int,
    dropout: float = 0.0,
) -> MultiScale:
    """Three couplings by checkerboard and three by channels at every scale, four by checkerboard at the last.

    Dinh et al., 2017, arXiv:1605.08803, Section 3.6: (B, C, H, W) -> (B, D). Pixels are squeezed before the
    checkerboards rather than after, which keeps the same pixels and lets the convolutions work on a quarter of the
    places. A side that cannot be halved stays; where neither can, this scale is the last.
    """
    channels, height, breadth = shape
    scales, shapes = [], []

    def convolutional(partition: Partition, kept: int, changed: int) -> Coupling:
        map_ = element(changed)
        network = ConvResNet(kept, map_.count * changed, width, depth=1, dropout=dropout)
        return Coupling(partition, network, map_)

    def by_channels(keep: Tensor) -> Coupling:
        return convolutional(Entries(keep), int(keep.sum()), int((~keep).sum()))

    def by_pixels(parity: int) -> Coupling:
        return convolutional(Checkerboard(height, breadth, parity), channels, channels)

    while True:
        rows, columns = 2 - height % 2, 2 - breadth % 2
        if rows * columns == 1:
            scales.append(Chain([by_pixels(index % 2) for index in range(4)]))
            shapes.append((channels, height, breadth))
            return MultiScale(scales, shapes)
        last = min(height, breadth) < SMALLEST
        colours, channels = channels, channels * rows * columns
        height, breadth = height // rows, breadth // columns
        corner = torch.arange(channels) // colours  # which pixel of the block a channel was
        even = (corner // columns + corner % columns) % 2 == 0  # the checkerboard, in channels
        half = torch.arange(channels) < channels // 2
        parts: list[Bijection] = [Squeeze(rows, columns)]
        parts += [by_channels(even if index % 2 == 0 else ~even) for index in range(4 if last else 3)]
        parts += [] if last else [by_channels(half if index % 2 == 0 else ~half) for index in range(3)]
        scales.append(Chain(parts))
        shapes.append((channels if last else channels // 2, height, breadth))
        if last:
            return MultiScale(scales, shapes)
        channels -= channels // 2
