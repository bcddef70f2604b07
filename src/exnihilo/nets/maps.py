"""Convolutional networks between a picture and a smaller map of vectors, for any side length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from exnihilo.nets.conv import pyramid
from exnihilo.nets.resnet import ConvResidual


def map_sides(side: tuple[int, int], largest: int = 8) -> list[tuple[int, int]]:
    """The sides of an image halved, rounding up, once or more until the shorter is at most `largest`: 28, 14, 7."""
    return pyramid(side, smallest=min(largest, (min(side) + 1) // 2))


def map_channels(sides: int, width: int) -> list[int]:
    """Channels from the largest map to the smallest, which has `width`: halved with every doubling of the side."""
    return [max(4, width // 2**level) for level in range(sides - 1, -1, -1)]


class MapEncoder(nn.Module):
    """Strided convolutions and residual blocks at the smallest side: (B, C, H, W) -> (B, channels_out, h, w).

    van den Oord et al., 2017, arXiv:1711.00937, section 4.1, with a group normalisation in the blocks.
    """

    def __init__(self, shape: Sequence[int], channels_out: int, width: int, depth: int):
        super().__init__()
        channels, height, breadth = shape
        sides = map_sides((height, breadth))
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *map_channels(len(sides), width)[1:]]):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1)] + [ConvResidual(width, 0.0) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(width, channels_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MapDecoder(nn.Module):
    """The mirror, by transposed convolutions: (B, channels_in, h, w) -> (B, C, H, W)."""

    def __init__(self, channels_in: int, shape: Sequence[int], width: int, depth: int):
        super().__init__()
        channels, height, breadth = shape
        sides = map_sides((height, breadth))
        widths = map_channels(len(sides), width)[::-1]
        layers: list[nn.Module] = [nn.Conv2d(channels_in, width, 3, padding=1)]
        layers += [ConvResidual(width, 0.0) for _ in range(depth)] + [nn.SiLU()]
        for (before, after), (high, wide) in zip(pairwise(widths), sides[-2::-1], strict=True):
            fill = (1 - high % 2, 1 - wide % 2)  # an odd side was rounded up when it was halved
            layers += [nn.ConvTranspose2d(before, after, 3, 2, padding=1, output_padding=fill), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
