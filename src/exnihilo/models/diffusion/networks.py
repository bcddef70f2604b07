"""The network of a denoiser, chosen by the kind of the data: a U-Net for pictures, residual layers for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exnihilo.core import DataSpec, adamw, cosine
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.nets.mlp import ResidualMLP
from exnihilo.nets.time_embedding import TimeEmbedding
from exnihilo.nets.unet import UNet

#: Pictures whose longer side is at least this are seen in patches of 2 x 2: three times faster at equal quality.
PATCHED_FROM = 24


class TimedNetwork(nn.Module):
    """A body steered by time, class and attributes: (x, t [B], label [B], attributes [B, A]) -> shaped as x."""

    def __init__(self, body: nn.Module, embedding: TimeEmbedding):
        super().__init__()
        self.body, self.embedding = body, embedding

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        return self.body(x, self.embedding(t, label, attributes))


def _patch(data: DataSpec) -> int:
    return 2 if data.kind == "image" and max(data.shape[1:]) >= PATCHED_FROM else 1


def timed_network(
    data: DataSpec, width: int, depth: int = 1, attention: int = 0, *, inputs: int = 1, outputs: int = 1
) -> TimedNetwork:
    """A network of `width` channels at full resolution (twice that on patches), or 16 * width hidden units.

    depth: residual blocks per level of the U-Net, or a quarter of those of the fully connected network. inputs,
    outputs: how many times the channels of the data it takes and makes, [B, outputs * C, ...].
    """
    vector = 4 * width * _patch(data)
    embedding = TimeEmbedding(data.classes, len(data.attributes), vector)
    if data.kind != "image":
        body = ResidualMLP(data.shape, 16 * width, 4 * depth, vector, inputs=inputs, outputs=outputs)
        return TimedNetwork(body, embedding)
    patch = _patch(data)
    sizes = {"depth": depth, "patch": patch, "attention": attention, "inputs": inputs, "outputs": outputs}
    return TimedNetwork(UNet(data.shape, width * patch, vector, **sizes), embedding)


def network_optimizer(data: DataSpec, width: int) -> OptimizerFactory:
    """AdamW with a rate that falls with the width: 3e-3 at 16 channels, 1e-3 at 32 and for vectors (measured).

    Short warm-up, flat to 30 % of the training, then a cosine down to 1 %.
    """
    rate = (
        min(3e-3, 3e-3 * (16 / (width * _patch(data))) ** 1.5) if data.kind == "image" else 1e-3 * (16 / width) ** 0.5
    )
    return adamw(rate, betas=(0.9, 0.99), clip=1.0, schedule=cosine(warmup=0.03, hold=0.3, end=0.01))


def box_of(data: DataSpec) -> tuple[Tensor, Tensor]:
    """The box of the expected data: the range of the levels; infinite where it is to be measured."""
    low, high = (data.low, 1.0) if data.discrete else (-torch.inf, torch.inf)
    return torch.full(data.shape, low), torch.full(data.shape, high)
