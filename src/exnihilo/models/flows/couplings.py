"""Stacks of couplings for vectors and for images, over any element map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from exnihilo.core import ModelError
from exnihilo.nets.joined import Joined
from exnihilo.nets.layers import zero_init
from exnihilo.nets.mlp import MLP
from exnihilo.nets.resnet import ConvResNet
from exnihilo.probability.bijections import Bijection, Chain, Coupling, Flat, Inverse, MultiScale, Squeeze
from exnihilo.probability.elements import Affine, ElementMap
from exnihilo.probability.mixing import ActNorm, InvertibleLinear
from exnihilo.probability.partitions import Checkerboard, Entries, Partition

SMALLEST = 8  # the shorter side below which an image is not halved any further


def flat_couplings(
    shape: Sequence[int],
    element: Callable[[], ElementMap],
    *,
    width: int,
    depth: int,
    dropout: float = 0.0,
    vector: int = 0,
    between: Callable[[int], Iterable[Bijection]] = lambda size: (),
) -> Iterator[Bijection]:
    """`depth` couplings of all entries in a row, by fully connected networks: (B, *shape) -> (B, D).

    A random half is kept and the other changed, then the other way round, then another random half: after two
    couplings every entry has been changed. vector: length of what the networks are told beside; between: what stands
    before every coupling.
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
        yield from between(size)
        yield fully_connected(keep, element(), width, dropout, vector)


def fully_connected(keep: Tensor, map_: ElementMap, width: int, dropout: float = 0.0, vector: int = 0) -> Coupling:
    """A coupling of the entries of dimension 1 by a network of two hidden layers, which starts as the identity."""
    kept, changed = int(keep.sum()), int((~keep).sum())
    network = MLP((kept + vector,), (map_.count * changed,), width, activation=torch.nn.ReLU, dropout=dropout)
    zero_init(network.head)
    return Coupling(Entries(keep), Joined(network, flat=True) if vector else network, map_)


class Scale(NamedTuple):
    """A scale of a picture: the block that becomes channels, and what shape it has then."""

    rows: int
    columns: int
    channels: int
    height: int
    breadth: int
    last: bool


def scales_of(shape: Sequence[int], *, leaving: bool = True) -> Iterator[Scale]:
    """Halving after halving; a side that cannot be halved stays, and where neither can, this scale is the last.

    leaving: half of the channels are done after each scale but the last.
    """
    channels, height, breadth = shape
    while True:
        rows, columns = 2 - height % 2, 2 - breadth % 2
        last = min(height, breadth) < SMALLEST or rows * columns == 1
        channels, height, breadth = channels * rows * columns, height // rows, breadth // columns
        yield Scale(rows, columns, channels, height, breadth, last)
        if last:
            return
        channels -= channels // 2 if leaving else 0


def multi_scale(scales: Sequence[Scale], parts: Iterable[Bijection]) -> MultiScale:
    """Half of the channels leave after each scale but the last, whose whole is left."""
    sizes = [(s.channels if s.last else s.channels // 2, s.height, s.breadth) for s in scales]
    return MultiScale(parts, sizes)


class Convolutional(NamedTuple):
    """How pictures are coupled: by a small residual network of `width` channels, told a vector of this length."""

    element: Callable[[], ElementMap]
    width: int
    dropout: float = 0.0
    vector: int = 0

    def __call__(self, partition: Partition, kept: int, changed: int) -> Coupling:
        """From `kept` channels to the map of `changed` ones."""
        map_ = self.element()
        network = ConvResNet(kept + self.vector, map_.count * changed, self.width, depth=1, dropout=self.dropout)
        return Coupling(partition, Joined(network, flat=False) if self.vector else network, map_)

    def by_channels(self, keep: Tensor) -> Coupling:
        """keep: booleans [C]."""
        return self(Entries(keep), int(keep.sum()), int((~keep).sum()))


def image_couplings(shape: Sequence[int], couple: Convolutional) -> MultiScale:
    """Three couplings by checkerboard and three by channels at every scale, four by checkerboard at the last.

    Dinh et al., 2017, arXiv:1605.08803, Section 3.6: (B, C, H, W) -> (B, D). Pixels are squeezed before the
    checkerboards rather than after, which keeps the same pixels and lets the convolutions work on a quarter of the
    places.
    """

    def parts(scale: Scale) -> Iterator[Bijection]:
        channels, block = scale.channels, scale.rows * scale.columns
        if block == 1:
            for index in range(4):
                yield couple(Checkerboard(scale.height, scale.breadth, index % 2), channels, channels)
            return
        yield Squeeze(scale.rows, scale.columns)
        corner = torch.arange(channels) // (channels // block)  # which pixel of the block a channel was
        even = (corner // scale.columns + corner % scale.columns) % 2 == 0  # the checkerboard, in channels
        half = torch.arange(channels) < channels // 2
        for index in range(4 if scale.last else 3):
            yield couple.by_channels(even if index % 2 == 0 else ~even)
        for index in range(0 if scale.last else 3):
            yield couple.by_channels(half if index % 2 == 0 else ~half)

    scales = list(scales_of(shape))
    return multi_scale(scales, [Chain(parts(scale)) for scale in scales])


def glow_steps(shape: Sequence[int], couple: Convolutional, *, depth: int) -> MultiScale:
    """`depth` steps of actnorm, invertible 1 x 1 convolution and coupling by channels at every scale.

    Kingma & Dhariwal, 2018, arXiv:1807.03039, Figure 2 and Table 1: (B, C, H, W) -> (B, D). Where there is but one
    channel, squares of a checkerboard are changed in turn.
    """

    def step(scale: Scale, index: int) -> Iterator[Bijection]:
        channels = scale.channels
        yield ActNorm(channels)
        if channels == 1:
            yield couple(Checkerboard(scale.height, scale.breadth, index % 2), 1, 1)
            return
        yield InvertibleLinear(channels)
        yield couple.by_channels(torch.arange(channels) < channels // 2)

    def parts(scale: Scale) -> Iterator[Bijection]:
        if scale.rows * scale.columns > 1:
            yield Squeeze(scale.rows, scale.columns)
        for index in range(depth):
            yield from step(scale, index)

    scales = list(scales_of(shape))
    return multi_scale(scales, [Chain(parts(scale)) for scale in scales])


def noise_couplings(shape: Sequence[int], *, width: int, depth: int) -> Iterator[Bijection]:
    """Couplings of noise e beside data x, (B, 2 C, ...) -> the same shape: e changes given x, which stays.

    For `VariationalDequantisation`. Pictures with even sides by convolutions over blocks of 2 x 2 pixels, all else by
    fully connected networks.
    """
    channels, size = shape[0], math.prod(shape)
    both = (2 * channels, *shape[1:])
    if len(shape) == 3 and shape[1] % 2 == shape[2] % 2 == 0:
        yield Squeeze(2, 2)
        channel = torch.arange(8 * channels)
        given, corner = channel % (2 * channels) >= channels, channel // (2 * channels)
        for index in range(depth):
            keep = given | ((corner // 2 + corner % 2) % 2 == index % 2)
            yield Convolutional(Affine, width).by_channels(keep)
        yield Inverse(Squeeze(2, 2))
        return
    yield Flat(both)
    for index in range(depth):
        keep = (torch.arange(2 * size) >= size) | (torch.arange(2 * size) % 2 == index % 2)
        if not keep.all():
            yield fully_connected(keep, Affine(), width)
    yield Inverse(Flat(both))
