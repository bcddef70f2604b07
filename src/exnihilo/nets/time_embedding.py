"""What a network is told beside the data: the time, the class and the attributes, as one vector or as tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from exnihilo.nets.layers import Condition, Fourier

#: Features [B, width] of a time [B], made for a width.
TimeFeatures = Callable[[int], nn.Module]


def time_layers(width: int, features: TimeFeatures) -> nn.Module:
    """t [B] in [0, 1] -> [B, width]: features and two linear layers (Ho et al., 2020, arXiv:2006.11239)."""
    return nn.Sequential(features(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))


class TimeEmbedding(nn.Module):
    """Time, class and attributes as one vector: t [B] in [0, 1], label [B], attributes [B, A] -> [B, width].

    features: of the time; sinusoids (`Fourier`), or `random_fourier(scale)`.
    """

    def __init__(self, classes: int, attributes: int, width: int, features: TimeFeatures = Fourier):
        super().__init__()
        self.time = time_layers(width, features)
        self.condition = Condition(classes, attributes, width)

    def forward(self, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        return self.time(t) + self.condition(len(t), label, attributes)


class TimeTokens(nn.Module):
    """The same as tokens, the time and - if there are any - class and attributes: [B, count, width].

    Bao et al., 2022, arXiv:2209.12152, section 3.
    """

    def __init__(self, classes: int, attributes: int, width: int, features: TimeFeatures = Fourier):
        super().__init__()
        self.time = time_layers(width, features)
        self.condition = Condition(classes, attributes, width) if classes or attributes else None
        self.count = 1 if self.condition is None else 2

    def forward(self, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        tokens = [self.time(t)]
        if self.condition is not None:
            tokens.append(self.condition(len(t), label, attributes))
        return torch.stack(tokens, dim=1)
