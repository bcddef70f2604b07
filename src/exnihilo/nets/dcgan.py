"""The pair of networks of deep convolutional adversarial learning, for any side length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from exnihilo.core import ModelError
from exnihilo.nets.conv import pyramid
from exnihilo.nets.layers import Norm, Reshape, norm

Activation = Callable[[], nn.Module]
DENSE = 4  # units of a hidden fully connected layer, per channel of the smallest picture


def halvings(side: tuple[int, int]) -> list[tuple[int, int]]:
    """The sides of an image halved, rounding up, until the shorter is at most 7 and a quarter of itself.

    64, 32, 16, 8, 4 as in the paper; 28, 14, 7; 8, 4, 2: on tiny pictures one hidden layer would not be enough.
    """
    if min(side) < 2:
        raise ModelError(f"An image of {side[0]} x {side[1]} cannot be halved; sides of 2 or more are needed.")
    return pyramid(side, smallest=min(7, (min(side) + 3) // 4))


class StridedCritic(nn.Module):
    """Strided 5 x 5 convolutions to scores: (B, C, H, W) -> (B, outputs); channels double with every halving.

    Radford et al., 2016, arXiv:1511.06434, Section 3: LeakyReLU(0.2) throughout, no pooling, no hidden fully connected
    layer, no normalisation at the input. normalisation="spectral" divides each weight by its largest singular value
    instead (Miyato et al., 2018, arXiv:1802.05957, Eq. 8). Against the guidelines: `pooled` halves by the largest of
    2 x 2 places, `dense` adds a hidden fully connected layer, `activation` takes the place of LeakyReLU.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        *,
        outputs: int = 1,
        normalisation: Norm | Literal["spectral"] = "none",
        pooled: bool = False,
        dense: bool = False,
        activation: Activation = partial(nn.LeakyReLU, 0.2),
    ):
        super().__init__()
        channels, height, breadth = shape
        sides = halvings((height, breadth))
        plain: Norm = "none" if normalisation == "spectral" else normalisation

        def halve(before: int, after: int, between: nn.Module) -> list[nn.Module]:
            convolution = nn.Conv2d(before, after, 5, stride=1 if pooled else 2, padding=2)
            pool = [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
            return [convolution, between, activation(), *pool]

        first, _, *rest = halve(channels, width, nn.Identity())
        layers, now = [first, *rest], width
        for _ in sides[2:]:
            layers += halve(now, 2 * now, norm(plain, 2 * now))
            now *= 2
        self.feature_size = now * sides[-1][0] * sides[-1][1]
        self.head: nn.Module = nn.Conv2d(now, outputs, sides[-1])  # covers the whole smallest picture
        if dense:
            layers += [nn.Flatten(), nn.Linear(self.feature_size, DENSE * now), activation()]
            self.feature_size, self.head = DENSE * now, nn.Linear(DENSE * now, outputs)
        self.layers = nn.Sequential(*layers)
        draw_weights(self)
        if normalisation == "spectral":
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)

    def features(self, x: Tensor) -> Tensor:
        """[B, ...] the last feature map, flat."""
        return self.layers(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x)).flatten(1)


class StridedGenerator(nn.Module):
    """The mirror: (B, latent) -> (B, C, H, W) by fractionally strided 5 x 5 convolutions.

    Radford et al., 2016, arXiv:1511.06434, Section 3: ReLU throughout, normalisation everywhere but at the output. The
    tanh that belongs on top is left to the caller. Against the guidelines: `pooled` doubles by repeating pixels,
    `dense` adds a hidden fully connected layer, `activation` takes the place of ReLU; `dropout` drops feature maps,
    in training only.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        width: int,
        *,
        normalisation: Norm = "batch",
        pooled: bool = False,
        dense: bool = False,
        activation: Activation = nn.ReLU,
        dropout: float = 0.0,
    ):
        super().__init__()
        channels, height, breadth = shape
        sides = halvings((height, breadth))
        now = width * 2 ** (len(sides) - 2)
        layers: list[nn.Module] = [Reshape(latent, 1, 1), nn.ConvTranspose2d(latent, now, sides[-1])]
        if dense:
            size = now * sides[-1][0] * sides[-1][1]
            layers = [nn.Linear(latent, DENSE * now), activation(), nn.Linear(DENSE * now, size)]
            layers += [Reshape(now, *sides[-1])]
        for level in range(len(sides) - 2, -1, -1):
            after = now // 2 if level else channels
            layers += [norm(normalisation, now), activation()]
            layers += [nn.Dropout2d(dropout)] if dropout else []
            layers += doubling(now, after, sides[level], pooled)
            now = after
        self.layers = nn.Sequential(*layers)
        draw_weights(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


def doubling(before: int, after: int, side: tuple[int, int], pooled: bool) -> list[nn.Module]:
    """Layers from half of `side`, rounded up, to `side`."""
    if pooled:
        return [nn.Upsample(size=side), nn.Conv2d(before, after, 5, padding=2)]
    fill = (1 - side[0] % 2, 1 - side[1] % 2)  # an odd side was rounded up when it was halved
    return [nn.ConvTranspose2d(before, after, 5, 2, padding=2, output_padding=fill)]


def draw_weights(module: nn.Module, spread: float = 0.02) -> None:
    """Every layer's weights from N(0, spread^2), biases 0 (Radford et al., 2016, Section 4)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=spread)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
