"""Colours of a pixel coupled by the likelihood, where the network knows pixels only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from exnihilo.nets.masked import CausalNetwork, Walk, at, raster
from exnihilo.nets.multistream import PixelStreams, StreamsWalk
from exnihilo.probability.likelihoods import DiscretisedLogisticMixture
from exnihilo.probability.mixtures import couple


class CoupledColours(CausalNetwork):
    """Parameters for every colour from the pixels before and the colours before it in the pixel, see `couple`."""

    def __init__(self, pixels: PixelStreams, head: DiscretisedLogisticMixture):
        super().__init__()
        self.pixels, self.head, self.shape = pixels, head, pixels.shape

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        return couple(self.head, self.pixels(x, vector), x)

    def order(self) -> Iterator[tuple[int, ...]]:
        return raster(self.shape)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return CoupledWalk(self, n, vector)


class CoupledWalk(Walk):
    """The network once a pixel, the coupling once a colour."""

    def __init__(self, network: CoupledColours, n: int, vector: Tensor | None):
        self.head = network.head
        self.x = network.pixels.place.new_zeros(n, *network.shape)
        self.pixels = StreamsWalk(network.pixels, self.x, vector)
        self.raw = torch.empty(0)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        colour, row, column = place
        if colour == 0:
            self.raw = self.pixels.numbers(row, column)
        parameters = couple(self.head, self.raw, self.x[at((slice(None), row, column))])
        return parameters.unflatten(1, (-1, self.x.shape[1]))[:, :, colour]
