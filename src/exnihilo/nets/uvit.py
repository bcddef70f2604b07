"""The U-ViT: time, class and patches are all tokens, and shallow blocks are joined to deep ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from exnihilo.nets.attention import Attention, FeedForward, heads_of
from exnihilo.nets.layers import zero_init
from exnihilo.nets.patches import filled, from_tokens, into_tokens
from exnihilo.nets.unet import CONVOLUTIONS

HEAD = 64  # channels of an attention head


class TokenBlock(nn.Module):
    """h + Attention(norm h), then h + MLP(norm h); where a skip arrives, h is first W [h, skip]: [B, T, width]."""

    def __init__(self, width: int, joins: bool):
        super().__init__()
        self.skip = nn.Linear(2 * width, width) if joins else None
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads_of(width, HEAD)), FeedForward(width)

    def forward(self, h: Tensor, known: Tensor | None, skip: Tensor | None = None) -> Tensor:
        if self.skip is not None and skip is not None:
            h = self.skip(torch.cat([h, skip], dim=2))
        h = h + self.attention(self.norm(h), known)
        return h + self.mlp(self.norm_2(h))


class UViT(nn.Module):
    """(B, inputs * C, *sides), [B, tokens, width] -> (B, outputs * C, *sides), for any sides; starts at zero.

    Bao et al., 2022, arXiv:2209.12152, section 3 and Figure 1: `depth` blocks whose results are kept, one, and `depth`
    blocks that each join theirs with the last one kept; places are learned, of tokens and patches; a 3 x 3 convolution
    smooths over the edges of patches. Sides that the patch does not divide are filled up. tokens: how many there are
    beside the patches: the time, the class, the words of a text. Caution: as of `DiT`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        tokens: int,
        *,
        depth: int,
        patch: int,
        inputs: int = 1,
        outputs: int = 1,
    ):
        super().__init__()
        channels, *sides = shape
        grid, self.patch = filled(sides, patch), patch
        size = channels * patch ** len(sides)  # numbers in a patch
        self.enter = nn.Linear(inputs * size, width)
        self.places = nn.Parameter(torch.empty(tokens + torch.Size(grid).numel(), width))
        self.down = nn.ModuleList([TokenBlock(width, joins=False) for _ in range(depth)])
        self.middle = TokenBlock(width, joins=False)
        self.up = nn.ModuleList([TokenBlock(width, joins=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs * size)
        nn.init.trunc_normal_(self.places, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        conv = CONVOLUTIONS[len(sides) - 1]
        self.smooth = zero_init(conv(outputs * channels, outputs * channels, 3, padding=1))

    def forward(self, x: Tensor, tokens: Tensor, known: Tensor | None = None) -> Tensor:
        """known [B, tokens]: which of the tokens to look at, all without it."""
        before = tokens.shape[1]
        h = torch.cat([tokens, self.enter(into_tokens(x, self.patch))], dim=1) + self.places
        if known is not None:
            known = pad(known, (0, h.shape[1] - before), value=True)
        kept: list[Tensor] = []
        for block in self.down:
            h = block(h, known)
            kept.append(h)
        h = self.middle(h, known)
        for block in self.up:
            h = block(h, known, kept.pop())
        return self.smooth(from_tokens(self.leave(self.norm(h[:, before:])), self.patch, x.shape[2:]))
