"""The U-Net of diffusion models: residual blocks on a pyramid of sides, steered by a vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.nets.attention import SelfAttention
from exnihilo.nets.layers import Condition, Fourier, norm, zero_init


class TimeEmbedding(nn.Module):
    """Time, class and attributes as one vector: t [B] in [0, 1], label [B], attributes [B, A] -> [B, width]."""

    def __init__(self, classes: int, attributes: int, width: int):
        super().__init__()
        self.time = nn.Sequential(Fourier(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = Condition(classes, attributes, width)

    def forward(self, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        return self.time(t) + self.condition(len(t), label, attributes)


class UNet(nn.Module):
    """(B, inputs * C, H, W), (B, vector) -> (B, outputs * C, H, W), for any side; the output starts at zero.

    Ho et al., 2020, arXiv:2006.11239, appendix B, with the modulation and the vector of Dhariwal & Nichol, 2021,
    arXiv:2105.05233, section 3. `patch` = 2 sees 2 x 2 pixels as one place, three times faster on large pictures;
    `attention`: maps of at most this side attend to themselves. Sides halve, rounding up, until at most 7; on the way
    back a map takes the side of the one stored, so none need be even.
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
    ):
        super().__init__()
        channels, height, breadth = shape
        sides = [(-(-height // patch), -(-breadth // patch))]
        while max(sides[-1]) > 7 and min(sides[-1]) > 3:
            sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
        widths = [width] + [2 * width] * (len(sides) - 1)
        attends = [max(side) <= attention for side in sides]

        self.patch = patch
        self.enter = nn.Conv2d(inputs * channels * patch**2, width, 3, padding=1)
        self.down, self.shrink, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        now = width
        for level, after in enumerate(widths):
            if level > 0:
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
            self.down.append(Level(now, after, vector, depth, attends[level]))
            now = after
        self.middle = Level(now, now, vector, 1, attends[-1])
        for level, after in reversed(list(enumerate(widths))):
            self.up.append(Level(now + after, after, vector, depth, attends[level]))
            now = after
        self.leave = nn.Sequential(
            norm("group", width), nn.SiLU(), zero_init(nn.Conv2d(width, outputs * channels * patch**2, 3, padding=1))
        )

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        height, breadth = x.shape[-2:]
        x = F.pad(x, (0, -breadth % self.patch, 0, -height % self.patch))
        vector = F.silu(vector)
        h = self.enter(F.pixel_unshuffle(x, self.patch))
        maps: list[Tensor] = []
        for level, down in enumerate(self.down):
            h = down(self.shrink[level - 1](h) if level else h, vector)
            maps.append(h)
        h = self.middle(h, vector)
        for up in self.up:
            stored = maps.pop()
            if h.shape[-2:] != stored.shape[-2:]:
                h = F.interpolate(h, size=stored.shape[-2:], mode="nearest")
            h = up(torch.cat([h, stored], dim=1), vector)
        return F.pixel_shuffle(self.leave(h), self.patch)[..., :height, :breadth]


class Level(nn.Module):
    """`depth` residual blocks on maps of one side, each followed by self-attention where it is asked for."""

    def __init__(self, before: int, after: int, vector: int, depth: int, attends: bool):
        super().__init__()
        self.blocks = nn.ModuleList([ResBlock(after if i else before, after, vector) for i in range(depth)])
        self.attention = nn.ModuleList([SelfAttention(after) if attends else nn.Identity() for _ in range(depth)])

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        for block, attention in zip(self.blocks, self.attention, strict=True):
            x = attention(block(x, vector))
        return x


class ResBlock(nn.Module):
    """x + conv(silu(scale * norm(conv(silu(norm(x)))) + shift)), scale and shift from the vector; starts as x.

    (B, before, H, W) -> (B, after, H, W). Dhariwal & Nichol, 2021, arXiv:2105.05233, Eq. 3 (adaptive group
    normalisation). The vector comes with its nonlinearity applied.
    """

    def __init__(self, before: int, after: int, vector: int):
        super().__init__()
        self.norm1 = norm("group", before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.modulate = nn.Linear(vector, 2 * after)
        self.norm2 = norm("group", after)
        self.conv2 = zero_init(nn.Conv2d(after, after, 3, padding=1))
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        scale, shift = self.modulate(vector)[:, :, None, None].chunk(2, dim=1)  # each (B, after, 1, 1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))  # (B, after, H, W)
        h = torch.addcmul(shift, h, 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))
