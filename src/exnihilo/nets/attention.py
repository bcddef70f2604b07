"""Attention: entries of a sequence, or places of a map, look at each other."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from exnihilo.nets.layers import norm, residual, zero_init


def heads_of(width: int, channels: int, multiple: int = 1) -> int:
    """Heads of so many channels, or the next larger number, a multiple of this, that divides the width; at least 1."""
    most = max(1, width // channels)
    return next((heads for heads in range(most, 1, -1) if width % (multiple * heads) == 0), 1)


class Attention(nn.Module):
    """W softmax(Q K^T / sqrt(d)) V between the entries of a sequence: [B, T, width] -> the same.

    Vaswani et al., 2017, arXiv:1706.03762, Eq. 1 and section 3.2.2. `split` and `join` are its halves, for those who
    turn or keep queries and keys in between. Time and memory grow with T^2.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.enter, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def split(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [B, heads, T, d]."""
        query, key, value = self.enter(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return query, key, value

    def join(
        self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, known: Tensor | None = None
    ) -> Tensor:
        """[B, T, width]; causal: entries see themselves and those before; known [B, T]: see only those where True."""
        seen = None if known is None else known[:, None, None]
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=causal)
        return self.leave(mixed.transpose(1, 2).flatten(2))

    def forward(self, h: Tensor, known: Tensor | None = None) -> Tensor:
        return self.join(*self.split(h), known=known)


class FeedForward(nn.Module):
    """W gelu(V h) of every entry by itself, V h four times as wide: [..., width] -> the same."""

    def __init__(self, width: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        return self.leave(gelu(self.enter(h)))


class SelfAttention(nn.Module):
    """(x + attention between the places of a feature map) * scale: (B, C, *sides) -> the same; starts as scale * x.

    One head per 64 channels (Dhariwal & Nichol, 2021, arXiv:2105.05233). For small maps.
    """

    def __init__(self, channels: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.norm = norm("group", channels)
        self.attention = Attention(channels, heads_of(channels, 64))
        zero_init(self.attention.leave)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)  # (B, places, C)
        return residual(x, self.attention(places).transpose(1, 2).reshape(x.shape), self.scale)


class CrossAttention(nn.Module):
    """(x + what the places of a feature map read in tokens) * scale: (B, C, *sides), [B, N, tokens] -> like x.

    W softmax(Q K^T / sqrt(d)) V with queries of places, keys and values of tokens (Vaswani et al., 2017, section
    3.2.3; Rombach et al., 2022, arXiv:2112.10752, section 3.3). The order of the tokens is not seen. It starts as
    scale * x.
    """

    def __init__(self, channels: int, tokens: int, scale: float = 1.0):
        super().__init__()
        self.scale, self.heads = scale, heads_of(channels, 64)
        self.norm = norm("group", channels)
        self.ask, self.told = nn.Linear(channels, channels), nn.Linear(tokens, 2 * channels)
        self.leave = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)  # (B, places, C)
        query = self.ask(places).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, places, d)
        key, value = self.told(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return residual(x, self.leave(read).transpose(1, 2).reshape(x.shape), self.scale)
