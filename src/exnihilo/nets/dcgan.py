"""The pair of networks of deep convolutional adversarial learning, for any side length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from exnihilo.core import ModelError
from exnihilo.nets.conv import pyramid
from exnihilo.nets.layers import Norm, Reshape, norm


def halvings(side: tuple[int, int]) -> list[tuple[int, int]]:
    """The sides of an image halved, rounding up, until the shorter is at most 7 and a quarter of itself.

    64, 32, 16, 8, 4 as in the paper; 28, 14, 7; 8, 4, 2: on tiny pictures one hidden layer would not be enough.
    """
    if min(side) < 2:
        raise ModelError(f"An image of {side[0]} x {side[1]} cannot be halved; sides of 2 or more are needed.")
    return pyramid(side, smallest=min(7, (min(side) + 3) // 4))


class StridedCritic(nn.Module):
    """Strided 5 x 5 convolutions to one score: (B, C, H, W) -> (B, 1); channels double with every halving.

    Radford et al., 2016, arXiv:1511.06434, Section 3: LeakyReLU(0.2) throughout, no pooling, no hidden fully connected
    layer, no normalisation at the input. normalisation="spectral" divides each weight by its largest singular value
    instead (Miyato et al., 2018, arXiv:1802.05957, Eq. 8).
    """

    def __init__(self, shape: Sequence[int], width: int, *, normalisation: Norm | Literal["spectral"] = "none"):
        super().__init__()
        channels, height, breadth = shape
        sides = halvings((height, breadth))
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
        now = width
        for _ in sides[2:]:
            between = nn.Identity() if normalisation == "spectral" else norm(normalisation, 2 * now)
            layers += [nn.Conv2d(now, 2 * now, 5, stride=2, padding=2), between, nn.LeakyReLU(0.2)]
            now *= 2
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(now, 1, sides[-1])  # covers the whole smallest picture
        draw_weights(self)
        if normalisation == "spectral":
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def features(self, x: Tensor) -> Tensor:
        """[B, ...] the last feature map, flat."""
        return self.layers(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x)).flatten(1)


class StridedGenerator(nn.Module):
    """The mirror: (B, latent) -> (B, C, H, W) by fractionally strided 5 x 5 convolutions.

    Radford et al., 2016, arXiv:1511.06434, Section 3: ReLU throughout, normalisation everywhere but at the output. The
    tanh that belongs on top is left to the caller.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int, *, normalisation: Norm = "batch"):
        super().__init__()
        channels, height, breadth = shape
        sides = halvings((height, breadth))
        now = width * 2 ** (len(sides) - 2)
        layers: list[nn.Module] = [Reshape(latent, 1, 1), nn.ConvTranspose2d(latent, now, sides[-1])]
        for level in range(len(sides) - 2, -1, -1):
            odd = tuple(side % 2 for side in sides[level])  # the side that halving has rounded up
            after = now // 2 if level else channels
            layers += [norm(normalisation, now), nn.ReLU()]
            layers += [nn.ConvTranspose2d(now, after, 5, 2, padding=2, output_padding=(1 - odd[0], 1 - odd[1]))]
            now = after
        self.layers = nn.Sequential(*layers)
        draw_weights(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


def draw_weights(module: nn.Module, spread: float = 0.02) -> None:
    """Every convolution's weights from N(0, spread^2), biases 0 (Radford et al., 2016, Section 4)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=spread)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
