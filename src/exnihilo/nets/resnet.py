"""Residual convolutions that keep the sides of an image."""

from __future__ import annotations

from torch import Tensor, nn

from exnihilo.nets.layers import norm, zero_init


class ConvResNet(nn.Module):
    """(B, channels_in, H, W) -> (B, channels_out, H, W) by `depth` residual blocks (He et al., 2016, arXiv:1603.05027).

    The last layer starts at zero, so the answer does.
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, depth: int, *, dropout: float = 0.0):
        super().__init__()
        self.enter = nn.Conv2d(channels_in, width, 3, padding=1)
        self.blocks = nn.ModuleList([ConvResidual(width, dropout) for _ in range(depth)])
        self.leave = nn.Sequential(nn.SiLU(), zero_init(nn.Conv2d(width, channels_out, 1)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        return self.leave(h)


class ConvResidual(nn.Module):
    """x + f(x) with two 3 x 3 convolutions, each after a normalisation and a nonlinearity."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.body = nn.Sequential(
            norm("group", width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            norm("group", width), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
