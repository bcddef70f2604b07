"""The U-Net of the diffusion papers in its usual structure, weight for weight that of other libraries.

Parts and weights have the names of diffusers' `UNet2DModel`, so that a file of weights needs no translation. For the
faster network that is the default see `unet.py`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import OptionError
from exnihilo.nets.attention import Attention
from exnihilo.nets.layers import zero_init

#: The longest period of the time's features over 2 pi, in levels (Vaswani et al., 2017).
LONGEST = 10000


@dataclass(frozen=True)
class Layout:
    """What such U-Nets differ in; the defaults are those of Dhariwal & Nichol, 2021, arXiv:2105.05233, Table 4.

    widths: channels of every level, from the full side on; each next one has half the side. attends: levels that
    attend to themselves. head: channels of an attention head, 0 for one head. modulation: the vector of time and class
    is added to maps (`shift`), or scales and shifts them after the norm. resampling: by a strided convolution down and
    one after repeating places up, or within a residual block. corner: pad below and on the right only, on the way down.
    middle, middle_norm: whether the smallest maps attend to themselves, and are normalised for that. sines_first,
    stretch: of the time's features, whose last frequency is 1 / 10000 ** ((half - 1) / (half - stretch)).
    """

    widths: tuple[int, ...]
    depth: int = 2
    attends: tuple[bool, ...] = ()
    head: int = 0
    groups: int = 32
    epsilon: float = 1e-5
    modulation: Literal["shift", "scale_shift"] = "scale_shift"
    resampling: Literal["convolution", "residual"] = "convolution"
    corner: bool = False
    middle: bool = True
    middle_norm: bool = True
    sines_first: bool = False
    stretch: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if bad := [width for width in self.widths if width % self.groups or width % 2]:
            raise OptionError(
                f"{bad[0]} channels are not allowed: in the standard U-Net they are even multiples of the {self.groups}"
                " groups of its norms."
            )
        seen = [width for width, attends in zip(self.widths, self.attends, strict=True) if attends]
        seen += [self.widths[-1]] if self.middle else []
        if self.head and (bad := [width for width in seen if width % self.head]):
            raise OptionError(f"head={self.head} is not allowed: it does not divide the {bad[0]} channels that attend.")

    @property
    def vector(self) -> int:
        """The length of the vector of time and class."""
        return 4 * self.widths[0]

    def heads(self, channels: int) -> int:
        """How many heads attend to maps of so many channels."""
        return channels // (self.head or channels)


class LevelFeatures(nn.Module):
    """[B] the number of a level, from 0 -> [B, width] cosines and sines, frequencies spaced evenly in their logarithm.

    In float32 throughout, also the frequencies, as the networks whose weights are published saw them.
    """

    frequencies: Tensor

    def __init__(self, width: int, sines_first: bool, stretch: float):
        super().__init__()
        half = width // 2
        exponents = -math.log(LONGEST) * torch.arange(half, dtype=torch.float32) / (half - stretch)
        self.register_buffer("frequencies", exponents.exp(), persistent=False)
        self.sines_first = sines_first

    def forward(self, level: Tensor) -> Tensor:
        angle = level[:, None].float() * self.frequencies
        parts = [angle.sin(), angle.cos()]
        return torch.cat(parts if self.sines_first else parts[::-1], dim=1)


class Resnet(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), modulated by the vector; (B, before, H, W) -> (B, after, H, W).

    Dhariwal & Nichol, 2021, Eq. 3, or the vector added before the second norm (Ho et al., 2020). It starts as x.
    resampled: both x and the branch change their side behind the first norm, by means or by repeating.
    """

    def __init__(self, before: int, after: int, layout: Layout, resampled: Literal["", "down", "up"] = ""):
        super().__init__()
        self.scaled, self.resampled = layout.modulation == "scale_shift", resampled
        self.norm1 = nn.GroupNorm(layout.groups, before, layout.epsilon)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time_emb_proj = nn.Linear(layout.vector, (2 if self.scaled else 1) * after)
        self.norm2 = nn.GroupNorm(layout.groups, after, layout.epsilon)
        self.dropout = nn.Dropout(layout.dropout)
        self.conv2 = zero_init(nn.Conv2d(after, after, 3, padding=1))
        self.conv_shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor, side: torch.Size | None = None) -> Tensor:
        h = F.silu(self.norm1(x))
        if self.resampled == "down":
            x, h = (F.avg_pool2d(each, 2, ceil_mode=True) for each in (x, h))
        elif self.resampled == "up":
            x, h = (F.interpolate(each, size=side, mode="nearest") for each in (x, h))
        h, steer = self.conv1(h), self.time_emb_proj(vector)[:, :, None, None]
        if self.scaled:
            scale, shift = steer.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + steer)
        return self.conv_shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class MapAttention(nn.Module):
    """x + W softmax(Q K^T / sqrt(d)) V over the places of a map, (B, C, H, W) -> the same; starts as x.

    `nets.attention`'s, but for the three projections, which are apart as in the files.
    """

    def __init__(self, channels: int, layout: Layout, normed: bool = True):
        super().__init__()
        self.heads = layout.heads(channels)
        self.group_norm = nn.GroupNorm(layout.groups, channels, layout.epsilon) if normed else nn.Identity()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.Sequential(zero_init(nn.Linear(channels, channels)))

    def forward(self, x: Tensor) -> Tensor:
        places = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        query, key, value = (
            project(places).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, HW, d)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)  # (B, HW, C)
        return x + self.to_out(mixed).transpose(1, 2).reshape(x.shape)


class Down(nn.Module):
    """A strided convolution: (B, C, H, W) -> (B, C, H / 2, W / 2), rounded up; padded at a corner only, down."""

    def __init__(self, channels: int, corner: bool):
        super().__init__()
        self.corner = corner
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if corner else 1)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.corner else x)


class Up(nn.Module):
    """Every place repeated until the map has this side, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, vector: Tensor, side: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=side, mode="nearest"))


class DownLevel(nn.Module):
    """Residual blocks on maps of one side, each followed by attention where asked for, then half the side."""

    def __init__(self, before: int, level: int, layout: Layout):
        super().__init__()
        width, last = layout.widths[level], level == len(layout.widths) - 1
        self.resnets = nn.ModuleList([Resnet(width if i else before, width, layout) for i in range(layout.depth)])
        attended = layout.depth if layout.attends[level] else 0
        self.attentions = nn.ModuleList([MapAttention(width, layout) for _ in range(attended)])
        residual = layout.resampling == "residual"
        make = (lambda: Resnet(width, width, layout, "down")) if residual else (lambda: Down(width, layout.corner))
        self.downsamplers = nn.ModuleList([] if last else [make()])

    def forward(self, h: Tensor, vector: Tensor, maps: list[Tensor]) -> Tensor:
        """The map that goes on; every map made on the way is appended to `maps`."""
        for index, resnet in enumerate(self.resnets):
            h = resnet(h, vector)
            h = self.attentions[index](h) if self.attentions else h
            maps.append(h)
        for down in self.downsamplers:
            h = down(h, vector)
            maps.append(h)
        return h


class Middle(nn.Module):
    """Two residual blocks on the smallest maps, and attention between them."""

    def __init__(self, layout: Layout):
        super().__init__()
        width = layout.widths[-1]
        self.resnets = nn.ModuleList([Resnet(width, width, layout) for _ in range(2)])
        attended = [MapAttention(width, layout, layout.middle_norm)] if layout.middle else []
        self.attentions = nn.ModuleList(attended)

    def forward(self, h: Tensor, vector: Tensor) -> Tensor:
        h = self.resnets[0](h, vector)
        for attention in self.attentions:
            h = attention(h)
        return self.resnets[1](h, vector)


class UpLevel(nn.Module):
    """Residual blocks that each take one stored map, attention where asked for, then the side of the next one."""

    def __init__(self, before: int, stored: Sequence[int], level: int, layout: Layout):
        """stored: the channels of the maps that the blocks take, in their order."""
        super().__init__()
        width = layout.widths[level]
        self.resnets = nn.ModuleList(
            [Resnet((width if i else before) + other, width, layout) for i, other in enumerate(stored)]
        )
        attended = len(stored) if layout.attends[level] else 0
        self.attentions = nn.ModuleList([MapAttention(width, layout) for _ in range(attended)])
        residual = layout.resampling == "residual"
        make = (lambda: Resnet(width, width, layout, "up")) if residual else (lambda: Up(width))
        self.upsamplers = nn.ModuleList([make()] if level else [])

    def forward(self, h: Tensor, vector: Tensor, maps: list[Tensor]) -> Tensor:
        """Takes its maps from the end of `maps`."""
        for index, resnet in enumerate(self.resnets):
            h = resnet(torch.cat([h, maps.pop()], dim=1), vector)
            h = self.attentions[index](h) if self.attentions else h
        for up in self.upsamplers:
            h = up(h, vector, maps[-1].shape[-2:])
        return h


class Contracting2D(nn.Module):
    """The first half: from a picture and the vector of time and class down to the smallest maps."""

    def __init__(self, inputs: int, layout: Layout, embeddings: int = 0):
        """embeddings: of classes, one for each and, if the network is to know none, one for `unknown` as the last."""
        super().__init__()
        self.layout = layout
        first, vector = layout.widths[0], layout.vector
        self.conv_in = nn.Conv2d(inputs, first, 3, padding=1)
        self.time_proj = LevelFeatures(first, layout.sines_first, layout.stretch)
        linear = [("linear_1", nn.Linear(first, vector)), ("act", nn.SiLU()), ("linear_2", nn.Linear(vector, vector))]
        self.time_embedding = nn.Sequential(OrderedDict(linear))
        self.class_embedding = nn.Embedding(embeddings, vector) if embeddings else None
        befores = (first, *layout.widths[:-1])
        self.down_blocks = nn.ModuleList([DownLevel(before, level, layout) for level, before in enumerate(befores)])
        self.mid_block = Middle(layout)

    def steer(self, level: Tensor, label: Tensor | None, extra: Tensor | None = None) -> Tensor:
        """[B, vector] of the level [B], the row of the class embedding [B] and what else is to be added, with its silu.

        Every block wants the vector with this nonlinearity, so it is applied once.
        """
        vector = self.time_embedding(self.time_proj(level))
        if self.class_embedding is not None:
            vector = vector + self.class_embedding(label)
        return F.silu(vector if extra is None else vector + extra)

    def contract(self, x: Tensor, vector: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The smallest maps, and all maps that were made on the way to them."""
        h = self.conv_in(x)
        maps = [h]
        for down in self.down_blocks:
            h = down(h, vector, maps)
        return self.mid_block(h, vector), maps


class UNet2D(Contracting2D):
    """(B, inputs, H, W), level [B] from 0, class row [B], extra [B, vector] -> (B, outputs, H, W); starts at zero.

    Ho et al., 2020, arXiv:2006.11239, appendix B, and Dhariwal & Nichol, 2021, arXiv:2105.05233, section 3: every
    block's map is stored, and the first convolution's, and as many blocks and one more take them on the way back. Sides
    may be odd: a map takes the side of the one stored. Each level halves them, rounding up.
    """

    def __init__(self, inputs: int, outputs: int, layout: Layout, embeddings: int = 0):
        super().__init__(inputs, layout, embeddings)
        widths = layout.widths
        stored = [widths[0]]  # channels of the maps, in the order in which they are made
        for level, width in enumerate(widths):
            stored += [width] * (layout.depth + (level < len(widths) - 1))
        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for level in reversed(range(len(widths))):
            taken = [stored.pop() for _ in range(layout.depth + 1)]
            self.up_blocks.append(UpLevel(before, taken, level, layout))
            before = widths[level]
        self.conv_norm_out = nn.GroupNorm(layout.groups, widths[0], layout.epsilon)
        self.conv_out = zero_init(nn.Conv2d(widths[0], outputs, 3, padding=1))

    def forward(self, x: Tensor, level: Tensor, label: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        vector = self.steer(level, label, extra)
        h, maps = self.contract(x, vector)
        for up in self.up_blocks:
            h = up(h, vector, maps)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class Classifier2D(Contracting2D):
    """(B, C, H, W) at level [B] -> [B, classes] logits: the first half of a U-Net, and attention that pools its maps.

    Dhariwal & Nichol, 2021, arXiv:2105.05233, Section 4 and appendix I (their classifier of noisy pictures).
    """

    def __init__(self, inputs: int, side: tuple[int, int], classes: int, layout: Layout):
        super().__init__(inputs, layout)
        width = layout.widths[-1]
        for _ in layout.widths[1:]:
            side = (-(-side[0] // 2), -(-side[1] // 2))
        self.conv_norm_out = nn.GroupNorm(layout.groups, width, layout.epsilon)
        self.pool = AttentionPool(width, side[0] * side[1], classes, layout.heads(width))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h, _ = self.contract(x, self.steer(level, None))
        return self.pool(F.silu(self.conv_norm_out(h)))


class AttentionPool(nn.Module):
    """(B, C, H, W) -> [B, outputs]: the mean of all places attends to them, each with its own position.

    Radford et al., 2021, arXiv:2103.00020, Section 2.4.
    """

    def __init__(self, channels: int, places: int, outputs: int, heads: int):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(places + 1, channels) / channels**0.5)
        self.attention = Attention(channels, heads)
        self.attention.leave = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        places = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1) + self.positions
        query, key, value = self.attention.split(places)
        return self.attention.join(query[:, :, :1], key, value)[:, 0]
