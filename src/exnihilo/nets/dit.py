"""The diffusion transformer: patches as tokens, told the time by what scales, shifts and gates every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from exnihilo.nets.attention import Attention, FeedForward, heads_of
from exnihilo.nets.layers import waves, zero_init
from exnihilo.nets.patches import filled, from_tokens, into_tokens

HEAD = 64  # channels of an attention head


def places_of(sides: Sequence[int], width: int) -> Tensor:
    """[T, width] the places of a grid in raster order, as sines and cosines of each of their coordinates.

    Vaswani et al., 2017, arXiv:1706.03762, section 3.5, the width shared among the sides as in MAE (He et al., 2021,
    arXiv:2111.06377). The inner product of two of them depends on the way between them only.
    """
    share = -(-width // len(sides))
    slower = 10_000.0 ** -torch.arange(0, 1, 2 / share)
    axes = torch.meshgrid([torch.arange(side) for side in sides], indexing="ij")
    return torch.cat([waves(axis.flatten()[:, None] * slower, share) for axis in axes], dim=1)[:, :width]


class SteeredBlock(nn.Module):
    """h + gate . Attention(scale . norm h + shift), then the same of an MLP; all six from the vector; starts as h.

    "adaLN-Zero", Peebles & Xie, 2022, arXiv:2212.09748, section 3.2 and Figure 3. [B, T, width], and the vector
    [B, vector] with its nonlinearity applied.
    """

    def __init__(self, width: int, vector: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention, self.mlp = Attention(width, heads_of(width, HEAD)), FeedForward(width)
        self.modulate = nn.Linear(vector, 6 * width)

    def forward(self, h: Tensor, vector: Tensor, known: Tensor | None) -> Tensor:
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulate(vector)[:, None].chunk(6, dim=2)
        h = torch.addcmul(h, gate, self.attention(torch.addcmul(shift, self.norm(h), 1 + scale), known))
        return torch.addcmul(h, gate_2, self.mlp(torch.addcmul(shift_2, self.norm(h), 1 + scale_2)))


class DiT(nn.Module):
    """(B, inputs * C, *sides), (B, vector) -> (B, outputs * C, *sides), for any sides; the output starts at zero.

    Peebles & Xie, 2022, arXiv:2212.09748: the patches of a picture, or of a series, are the tokens of a transformer.
    Sides that the patch does not divide are filled up. told: length of the vectors of further tokens, such as the words
    of a text, which are put before the patches and left out of the answer ("in-context", section 3.2). Caution: time
    and memory grow with the square of the number of patches.
    """

    places: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        vector: int,
        *,
        depth: int,
        patch: int,
        inputs: int = 1,
        outputs: int = 1,
        told: int = 0,
    ):
        super().__init__()
        size = shape[0] * patch ** len(shape[1:])  # numbers in a patch
        self.patch = patch
        self.enter = nn.Linear(inputs * size, width)
        self.told = nn.Linear(told, width) if told else None
        self.register_buffer("places", places_of(filled(shape[1:], patch), width), persistent=False)
        self.blocks = nn.ModuleList([SteeredBlock(width, vector) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulate = nn.Linear(vector, 2 * width)
        self.leave = nn.Linear(width, outputs * size)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
            if isinstance(layer, SteeredBlock):
                zero_init(layer.modulate)
        zero_init(self.modulate)
        zero_init(self.leave)

    def forward(self, x: Tensor, vector: Tensor, tokens: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """tokens [B, n, told]; known [B, n]: which of them to look at, all without it."""
        h, vector = self.enter(into_tokens(x, self.patch)) + self.places, silu(vector)
        before = 0
        if tokens is not None and self.told is not None:
            h, before = torch.cat([self.told(tokens), h], dim=1), tokens.shape[1]
        if known is not None:
            known = pad(known, (0, h.shape[1] - before), value=True)
        for block in self.blocks:
            h = block(h, vector, known)
        shift, scale = self.modulate(vector)[:, None].chunk(2, dim=2)
        h = torch.addcmul(shift, self.norm(h[:, before:]), 1 + scale)
        return from_tokens(self.leave(h), self.patch, x.shape[2:])
