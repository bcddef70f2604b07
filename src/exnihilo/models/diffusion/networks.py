"""The network of a denoiser, by the kind of the data: a U-Net of pictures or series, residual layers for the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from exnihilo.core import DataSpec, adamw, cosine
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.nets.layers import Fourier
from exnihilo.nets.mlp import ResidualMLP
from exnihilo.nets.patches import filled
from exnihilo.nets.time_embedding import TimeEmbedding, TimeFeatures
from exnihilo.nets.unet import UNet

#: Kinds of data that `timed_network` takes.
TIMED = ("image", "vector", "table", "series", "audio")
#: Pictures whose longer side is at least this are seen in patches of 2 x 2: three times faster at equal quality.
PATCHED_FROM = 24
#: Steps of a series, or patches of them where it has more, that its U-Net sees at full resolution.
MOST_STEPS = 128
#: Tokens of a transformer, unless its patch is given.
MOST_PATCHES = 64


class TimedNetwork(nn.Module):
    """A body told of time, class and attributes: (x, t [B], label [B], attributes [B, A]) -> shaped as x.

    embedding: of (t, label, attributes), as the body takes it beside x: a vector, or tokens.
    """

    def __init__(self, body: nn.Module, embedding: nn.Module):
        super().__init__()
        self.body, self.embedding = body, embedding

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        return self.body(x, self.embedding(t, label, attributes))


def patch_of(data: DataSpec, most: int = MOST_PATCHES, *, least: int = 1) -> int:
    """The side of patches: the smallest power of two, from `least` on, with which there are at most so many."""
    patch = least
    while math.prod(filled(data.shape[1:], patch)) > most:
        patch *= 2
    return patch


def _sizes(data: DataSpec, width: int) -> tuple[int, int]:
    """Patch and channels of the U-Net; without one, patch 0 and hidden units."""
    if data.kind in ("series", "audio"):
        patch = patch_of(data, MOST_STEPS)
        return patch, min(patch, 2) * width
    if data.kind != "image":
        return 0, 16 * width
    patch = 2 if max(data.shape[1:]) >= PATCHED_FROM else 1
    return patch, patch * width


def timed_network(
    data: DataSpec,
    width: int,
    depth: int = 1,
    attention: int = 0,
    *,
    inputs: int = 1,
    outputs: int = 1,
    features: TimeFeatures = Fourier,
    scale: float = 1.0,
) -> TimedNetwork:
    """A U-Net of `width` channels at full resolution, twice that on patches; or 16 * width hidden units.

    depth: residual blocks per level of the U-Net, or a quarter of those of the fully connected network. inputs,
    outputs: how many times the channels of the data it takes and makes, [B, outputs * C, ...]. features: of the time.
    scale: of the U-Net's sums.
    """
    patch, channels = _sizes(data, width)
    vector = 4 * (channels if patch else width)
    embedding = TimeEmbedding(data.classes, len(data.attributes), vector, features)
    if patch:
        body: nn.Module = UNet(
            data.shape, channels, vector,
            depth=depth, patch=patch, attention=attention, inputs=inputs, outputs=outputs, scale=scale,
        )  # fmt: skip
    else:
        body = ResidualMLP(data.shape, channels, 4 * depth, vector, inputs=inputs, outputs=outputs)
    return TimedNetwork(body, embedding)


def transformer_optimizer(width: int) -> OptimizerFactory:
    """AdamW with a rate that falls with the width, from 3e-3 at 32; its schedule is that of the U-Nets."""
    return adamw(min(3e-3, 0.096 / width), betas=(0.9, 0.99), clip=1.0, schedule=cosine(0.03, 0.3, 0.01))


def network_optimizer(data: DataSpec, width: int) -> OptimizerFactory:
    """AdamW with a rate that falls with the width: 3e-3 at 16 channels, 1e-3 at 32 and for vectors (measured).

    Short warm-up, flat to 30 % of the training, then a cosine down to 1 %.
    """
    patch, channels = _sizes(data, width)
    rate = min(3e-3, 3e-3 * (16 / channels) ** 1.5) if patch else 1e-3 * (16 / width) ** 0.5
    return adamw(rate, betas=(0.9, 0.99), clip=1.0, schedule=cosine(warmup=0.03, hold=0.3, end=0.01))


def box_of(data: DataSpec) -> tuple[Tensor, Tensor]:
    """The box of the expected data: the range of the levels; infinite where it is to be measured."""
    low, high = (data.low, 1.0) if data.discrete else (-torch.inf, torch.inf)
    return torch.full(data.shape, low), torch.full(data.shape, high)


def deviation_of(data: DataSpec) -> float:
    """About that of the entries: 0.5 of pictures (Karras et al., 2022, Table 1), 0.2 of sound; numbers are standard."""
    return {"image": 0.5, "audio": 0.2}.get(data.kind, 1.0)
