"""Small pieces that several networks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["none", "batch", "group", "layer"]


def zero_init(layer: nn.Module) -> nn.Module:
    """The layer with all parameters zero: a residual branch that starts as nothing."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


def residual(x: Tensor, branch: Tensor, scale: float) -> Tensor:
    """(x + branch) * scale; with scale 1 / sqrt(2) the sum of two maps of variance 1 has it too."""
    return x + branch if scale == 1 else (x + branch) * scale


def norm(kind: Norm, channels: int) -> nn.Module:
    """A normalisation of (B, channels, ...): `batch`, `group` (of at least 4 channels), `layer` or `none`."""
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "group":
        return nn.GroupNorm(math.gcd(channels, max(1, min(32, channels // 4))), channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


class BatchNorm(nn.Module):
    """Batch normalisation of (B, C, ...) of any rank, with running statistics (Ioffe & Szegedy, 2015).

    torch's own has one class per rank and an integer counter among its buffers; this is the same map for all.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
        )


def waves(angle: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of angles: [..., width / 2, rounded up] -> [..., width]."""
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :width]


class Fourier(nn.Module):
    """Sinusoidal features of a number: [B] -> [B, width], frequencies spaced evenly in their logarithm."""

    frequencies: Tensor

    def __init__(self, width: int, lowest: float = 1.0, highest: float = 1000.0):
        super().__init__()
        self.width = width
        self.register_buffer("frequencies", torch.logspace(math.log10(lowest), math.log10(highest), (width + 1) // 2))

    def forward(self, t: Tensor) -> Tensor:
        return waves(t[:, None].float() * self.frequencies, self.width)


class RandomFourier(nn.Module):
    """Random Fourier features of a number: [B] -> [B, width], sin and cos of 2 pi w t, each w ~ N(0, scale^2).

    Tancik et al., 2020, arXiv:2006.10739, Eq. 5; Song et al., 2021, arXiv:2011.13456, appendix C.2, of the noise level.
    The frequencies are drawn once, at creation, and belong to the weights. Features of numbers d apart have on average
    the inner product width / 2 exp(-2 (pi scale d)^2): numbers much nearer than 1 / (2 pi scale) look alike.
    """

    frequencies: Tensor

    def __init__(self, width: int, scale: float = 16.0):
        super().__init__()
        self.width = width
        self.register_buffer("frequencies", scale * torch.randn((width + 1) // 2))

    def forward(self, t: Tensor) -> Tensor:
        return waves(2 * math.pi * t[:, None].float() * self.frequencies, self.width)


class Condition(nn.Module):
    """Class and attributes as one vector: label [B], attributes [B, A] -> [B, width].

    An unknown label (-1 or None) has its own embedding, an unknown attribute (NaN or None) its own flag, so one
    network serves conditional and unconditional use (classifier-free guidance drops labels to -1).
    """

    def __init__(self, classes: int, attributes: int, width: int):
        super().__init__()
        self.classes, self.attributes = classes, attributes
        self.label = nn.Embedding(classes + 1, width)
        self.facts = nn.Linear(2 * attributes, width) if attributes else None

    def forward(self, n: int, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        device = self.label.weight.device
        index = torch.full((n,), -1, device=device) if label is None else label
        vector = self.label(torch.where(index < 0, self.classes, index))  # [B, width]
        if self.facts is not None:
            if attributes is None:
                attributes = torch.full((n, self.attributes), torch.nan, device=device)
            known = ~attributes.isnan()
            vector = vector + self.facts(torch.cat([attributes.nan_to_num(0.0), known.to(attributes)], dim=1))
        return vector


class Reshape(nn.Module):
    """(B, ...) -> (B, *shape)."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


def chain(
    sizes: Sequence[int],
    layer: Callable[[int, int], nn.Module],
    between: Callable[[int], nn.Module],
) -> nn.Sequential:
    """layer(a, b), between(b), layer(b, c), ... with nothing after the last."""
    parts: list[nn.Module] = []
    for index, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        parts += [layer(before, after)] + ([between(after)] if index < len(sizes) - 2 else [])
    return nn.Sequential(*parts)
