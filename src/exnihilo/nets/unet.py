"""The U-Net of diffusion models, of pictures or of series: residual blocks on a pyramid of sides, told a vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.nets.attention import CrossAttention, SelfAttention
from exnihilo.nets.layers import norm, residual, zero_init
from exnihilo.nets.patches import filled, from_patches, into_patches

#: Convolutions of maps with one, two or three sides.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Convolution = type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]


class UNet(nn.Module):
    """(B, inputs * C, *sides), (B, vector) -> (B, outputs * C, *sides), for any sides; the output starts at zero.

    Ho et al., 2020, arXiv:2006.11239, appendix B, with the modulation and the vector of Dhariwal & Nichol, 2021,
    arXiv:2105.05233, section 3; of (C, H, W), or of series (C, T) with convolutions in time. `patch` = 2 sees 2 x 2
    pixels as one place, three times faster on large pictures; `attention`: maps of at most this side attend to
    themselves, and, if they are told `tokens` [B, N, tokens], to these; the smallest maps always do that. `scale`: what
    every sum of a map and what was made of it is multiplied by; with 1 / sqrt(2) variances do not grow (Song et al.,
    2021, arXiv:2011.13456, appendix H). Sides halve, rounding up, until at most 7; on the way back a map takes the side
    of the one stored, so none need be even.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        vector: int,
        *,
        depth: int = 1,
        patch: int = 1,
        attention: int = 0,
        inputs: int = 1,
        outputs: int = 1,
        tokens: int = 0,
        scale: float = 1.0,
    ):
        super().__init__()
        channels, conv = shape[0], CONVOLUTIONS[len(shape) - 2]
        sides = [filled(shape[1:], patch)]
        while max(sides[-1]) > 7 and min(sides[-1]) > 3:
            sides.append(filled(sides[-1], 2))
        size = channels * patch ** len(sides[0])  # numbers in a patch
        widths = [width] + [2 * width] * (len(sides) - 1)
        attends = [max(side) <= attention for side in sides]
        told = [tokens if seen else 0 for seen in attends]

        level_of = partial(Level, conv, vector=vector, scale=scale)
        self.patch = patch
        self.enter = conv(inputs * size, width, 3, padding=1)
        self.down, self.shrink, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        now = width
        for level, after in enumerate(widths):
            if level > 0:
                self.shrink.append(conv(now, now, 3, stride=2, padding=1))
            self.down.append(level_of(now, after, depth=depth, attends=attends[level], tokens=told[level]))
            now = after
        self.middle = level_of(now, now, depth=1, attends=attends[-1], tokens=tokens)
        for level, after in reversed(list(enumerate(widths))):
            self.up.append(level_of(now + after, after, depth=depth, attends=attends[level], tokens=told[level]))
            now = after
        self.leave = nn.Sequential(
            norm("group", width), nn.SiLU(), zero_init(conv(width, outputs * size, 3, padding=1))
        )

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None = None) -> Tensor:
        vector = F.silu(vector)
        h = self.enter(into_patches(x, self.patch))
        maps: list[Tensor] = []
        for level, down in enumerate(self.down):
            h = down(self.shrink[level - 1](h) if level else h, vector, tokens)
            maps.append(h)
        h = self.middle(h, vector, tokens)
        for up in self.up:
            stored = maps.pop()
            if h.shape[2:] != stored.shape[2:]:
                h = F.interpolate(h, size=stored.shape[2:], mode="nearest")
            h = up(torch.cat([h, stored], dim=1), vector, tokens)
        return from_patches(self.leave(h), self.patch, x.shape[2:])


class Level(nn.Module):
    """`depth` residual blocks on maps of one side, each followed by attention to itself and to tokens, if asked for."""

    def __init__(
        self,
        conv: Convolution,
        before: int,
        after: int,
        *,
        vector: int,
        depth: int,
        attends: bool,
        tokens: int,
        scale: float,
    ):
        super().__init__()
        befores = [before] + [after] * (depth - 1)
        self.blocks = nn.ModuleList([ResBlock(conv, width, after, vector, scale) for width in befores])
        self.attention = nn.ModuleList([SelfAttention(after, scale) if attends else nn.Identity() for _ in befores])
        self.reading = nn.ModuleList([CrossAttention(after, tokens, scale) for _ in befores] if tokens else [])

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None) -> Tensor:
        for place, (block, attention) in enumerate(zip(self.blocks, self.attention, strict=True)):
            x = attention(block(x, vector))
            if self.reading:
                x = self.reading[place](x, tokens)
        return x


class ResBlock(nn.Module):
    """(x + conv(silu(a * norm(conv(silu(norm(x)))) + b))) * scale, a and b from the vector; starts as scale * x.

    (B, before, *sides) -> (B, after, *sides). Dhariwal & Nichol, 2021, arXiv:2105.05233, Eq. 3 (adaptive group
    normalisation). The vector comes with its nonlinearity applied.
    """

    def __init__(self, conv: Convolution, before: int, after: int, vector: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.norm1 = norm("group", before)
        self.conv1 = conv(before, after, 3, padding=1)
        self.modulate = nn.Linear(vector, 2 * after)
        self.norm2 = norm("group", after)
        self.conv2 = zero_init(conv(after, after, 3, padding=1))
        self.skip = conv(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))  # (B, after, *sides)
        told = self.modulate(vector).view(len(x), -1, *[1] * (x.ndim - 2))
        gain, shift = told.chunk(2, dim=1)  # each (B, after, 1, ...)
        h = torch.addcmul(shift, h, 1 + gain)
        return residual(self.skip(x), self.conv2(F.silu(h)), self.scale)
