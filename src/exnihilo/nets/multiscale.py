"""Multiscale dilated convolutions: one filter laid out at several widths, from near texture to the whole picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from exnihilo.nets.conv import pyramid
from exnihilo.nets.layers import Reshape, norm

DILATIONS = (1, 2, 4)


class MultiscaleConv(nn.Module):
    """sum_d k_d * (W dilated by d) x + k_0 * (mean of W) x + b: one 3 x 3 filter W, weighed per output channel.

    (B, channels_in, H, W) -> (B, channels_out, H, W). Brock et al., 2017, arXiv:1609.07093, Section 3.2. The
    coefficients k start equal. Dilations at which only the filter's middle would see the picture are left out.
    """

    def __init__(self, channels_in: int, channels_out: int, side: tuple[int, int]):
        super().__init__()
        self.filter = nn.Conv2d(channels_in, channels_out, 3)  # its weights and bias; applied below
        self.dilations = [dilation for dilation in DILATIONS if dilation < min(side)]
        count = len(self.dilations) + 1
        self.scales = nn.Parameter(torch.full((count, channels_out), 1 / count))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.filter.weight
        mean = (self.scales[0, :, None, None, None] * weight).mean(dim=(2, 3), keepdim=True)
        total = conv2d(x, mean, self.filter.bias)
        for scale, dilation in zip(self.scales[1:], self.dilations, strict=True):
            total = total + conv2d(x, scale[:, None, None, None] * weight, padding=dilation, dilation=dilation)
        return total


class MultiscaleBlock(nn.Module):
    """x + f(x), f two multiscale convolutions, each after a normalisation and a nonlinearity."""

    def __init__(self, channels: int, side: tuple[int, int]):
        super().__init__()
        self.body = nn.Sequential(
            norm("layer", channels), nn.LeakyReLU(0.2), MultiscaleConv(channels, channels, side),
            norm("layer", channels), nn.LeakyReLU(0.2), MultiscaleConv(channels, channels, side),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class MultiscaleGenerator(nn.Module):
    """(B, latent) -> (B, C, H, W) by upsampling and a multiscale block at every side; `width` channels at the full one.

    Brock et al., 2017, arXiv:1609.07093, Section 3.2. The tanh that belongs on top is left to the caller.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int):
        super().__init__()
        channels, height, breadth = shape
        sides = pyramid((height, breadth))
        now = width * 2 ** (len(sides) - 1)
        layers: list[nn.Module] = [Reshape(latent, 1, 1), nn.ConvTranspose2d(latent, now, sides[-1])]
        layers += [MultiscaleBlock(now, sides[-1])]
        for side in reversed(sides[:-1]):
            layers += [nn.Upsample(size=side), nn.Conv2d(now, now // 2, 3, padding=1)]
            now //= 2
            layers += [MultiscaleBlock(now, side)]
        self.layers = nn.Sequential(
            *layers, norm("layer", now), nn.LeakyReLU(0.2), nn.Conv2d(now, channels, 3, padding=1)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
