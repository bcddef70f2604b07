"""Convolutional pyramids between an image and a vector, for any side length."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from exnihilo.nets.layers import Norm, Reshape, norm


def pyramid(side: tuple[int, int], smallest: int = 4) -> list[tuple[int, int]]:
    """The sides of an image halved (rounding up) until the shorter one is at most `smallest`: 28 -> 28, 14, 7, 4."""
    sides = [side]
    while min(sides[-1]) > smallest:
        height, width = sides[-1]
        sides.append(((height + 1) // 2, (width + 1) // 2))
    return sides


class ConvEncoder(nn.Module):
    """Strided convolutions to a vector: (B, C, H, W) -> (B, *shape_out); channels double with every halving.

    No pooling and no hidden fully connected layer (Radford et al., 2016, arXiv:1511.06434); no normalisation at the
    input layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        shape_out: Sequence[int],
        width: int,
        *,
        activation: type[nn.Module] = nn.SiLU,
        normalisation: Norm = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        channels, height, breadth = shape
        sides = pyramid((height, breadth))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), activation()]
        now = width
        for _ in sides[1:]:
            layers += [
                nn.Conv2d(now, 2 * now, 3, stride=2, padding=1),
                norm(normalisation, 2 * now),
                activation(),
            ]
            layers += [nn.Dropout(dropout)] if dropout else []
            now *= 2
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(now, math.prod(shape_out), sides[-1])  # covers the whole smallest picture
        self.shape = Reshape(*shape_out)

    def features(self, x: Tensor) -> Tensor:
        """[B, ...] the last feature map, flat."""
        return self.layers(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shape(self.head(self.layers(x)))


class ConvDecoder(nn.Module):
    """The mirror: (B, *shape_in) -> (B, C, H, W) by upsampling and convolution, which leaves no checkerboard."""

    def __init__(
        self,
        shape_in: Sequence[int],
        shape: Sequence[int],
        width: int,
        *,
        activation: type[nn.Module] = nn.SiLU,
        normalisation: Norm = "none",
    ):
        super().__init__()
        channels, height, breadth = shape
        sides = pyramid((height, breadth))
        now = width * 2 ** (len(sides) - 1)
        size = math.prod(shape_in)
        self.enter = nn.Sequential(
            Reshape(size, 1, 1),
            nn.ConvTranspose2d(size, now, sides[-1]),
            norm(normalisation, now),
            activation(),
        )
        layers: list[nn.Module] = []
        for side in reversed(sides[:-1]):
            layers += [nn.Upsample(size=side), nn.Conv2d(now, now // 2, 3, padding=1)]
            layers += [norm(normalisation, now // 2), activation()]
            now //= 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.enter(z))
