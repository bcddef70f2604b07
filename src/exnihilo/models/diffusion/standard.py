"""The standard U-Net as the network of a denoiser over levels, and classifiers of what is noisy."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from exnihilo.core import DataSpec, OptionError
from exnihilo.nets.layers import Condition, Fourier
from exnihilo.nets.mlp import MLP
from exnihilo.nets.unet2d import Classifier2D, Contracting2D, Layout, UNet2D

#: Channels of an attention head, where maps have as many (Dhariwal & Nichol, 2021, Table 3).
HEAD = 64
#: By how much of a level float32 may have rounded a time.
ROUNDED = 1e-3


def usual_layout(data: DataSpec, width: int, depth: int, attention: int) -> Layout:
    """Of pictures: `width` channels at the full side and twice that below, sides halved until at most 7.

    Maps whose longer side is at most `attention` attend to themselves, and the smallest ones always do.
    """
    sides = [data.shape[1:]]
    while max(sides[-1]) > 7 and min(sides[-1]) > 3:
        sides.append(tuple(-(-side // 2) for side in sides[-1]))
    widths = (width, *[2 * width] * (len(sides) - 1))
    attends = tuple(max(side) <= attention for side in sides)
    groups = math.gcd(width, max(1, min(32, width // 4)))
    return Layout(widths, depth, attends, head=math.gcd(width, HEAD), groups=groups)


def number_of(t: Tensor, levels: int) -> Tensor:
    """[B] i - 1 of t = i / levels: the number by which published networks know a level; between levels a fraction."""
    place = t * levels
    whole = place.round()
    return torch.where((place - whole).abs() < ROUNDED, whole, place) - 1


class StandardNetwork(nn.Module):
    """A standard U-Net told the level of noise by its number: (x, t [B], label [B], attributes [B, A]) -> like x.

    unknown: whether the last row of its class embedding stands for no class. If not, it answers for a class only.
    """

    def __init__(self, body: UNet2D, levels: int, *, classes: int = 0, unknown: bool = True, attributes: int = 0):
        super().__init__()
        self.body, self.levels, self.classes, self.unknown = body, levels, classes, unknown
        self.facts = Condition(0, attributes, body.layout.vector) if attributes else None

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        extra = None if self.facts is None else self.facts(len(x), None, attributes)
        return self.body(x, number_of(t, self.levels), self._row(t, label), extra)

    def _row(self, t: Tensor, label: Tensor | None) -> Tensor | None:
        if not self.classes:
            return None
        if not self.unknown and (label is None or bool((label < 0).any())):
            raise OptionError(
                "This network was trained with classes only, so it needs one: give a label, and no guidance."
            )
        if label is None:
            return torch.full((len(t),), self.classes, device=t.device)
        return torch.where(label < 0, self.classes, label)


def standard_network(
    data: DataSpec, layout: Layout, levels: int, *, outputs: int = 1, unknown: bool = True
) -> StandardNetwork:
    """For these pictures; outputs: how many times their channels it makes."""
    channels, classes = data.shape[0], data.classes
    body = UNet2D(channels, outputs * channels, layout, classes + unknown if classes else 0)
    return StandardNetwork(body, levels, classes=classes, unknown=unknown, attributes=len(data.attributes))


class NoisyClassifier(nn.Module):
    """(x [B, *shape], t [B]) -> [B, classes] logits, of examples with the noise of that time."""

    def __init__(self, body: Contracting2D | PointClassifier, levels: int):
        super().__init__()
        self.body, self.levels = body, levels

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.body(x, number_of(t, self.levels))


class PointClassifier(nn.Module):
    """Of vectors and tables: (x [B, *shape], level [B] from 0) -> [B, classes] logits."""

    def __init__(self, data: DataSpec, units: int, depth: int, levels: int, features: int = 32):
        super().__init__()
        self.levels = levels
        self.time = Fourier(features, highest=50.0)  # classes change slowly with the noise
        self.layers = MLP((data.size + features,), (data.classes,), units, depth)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.layers(torch.cat([x.flatten(1), self.time((level + 1) / self.levels)], dim=1))


def noisy_classifier(data: DataSpec, width: int, depth: int, attention: int, levels: int) -> NoisyClassifier:
    """As large as the first half of a denoiser of this width and depth."""
    if data.kind != "image":
        return NoisyClassifier(PointClassifier(data, 16 * width, 2 * depth, levels), levels)
    height, breadth = data.shape[1:]
    layout = usual_layout(data, width, depth, attention)
    return NoisyClassifier(Classifier2D(data.shape[0], (height, breadth), data.classes, layout), levels)
