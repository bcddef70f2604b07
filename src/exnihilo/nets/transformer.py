"""A decoder-only transformer over tokens: words of a text, or the levels of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from exnihilo.nets.attention import Attention, FeedForward, heads_of
from exnihilo.nets.sequence import SequenceNetwork, SequenceWalk, arranged, in_order

HEAD = 32  # channels of an attention head


class Keys:
    """Keys and values [2, n, heads, T, d] that a block has made so far."""

    def __init__(self, like: Tensor, n: int, heads: int, entries: int, width: int):
        self.held, self.count = like.new_empty(2, n, heads, entries, width // heads), 0

    def put(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Those of new entries, each [n, heads, new, d] -> all so far."""
        start, end = self.count, self.count + key.shape[2]
        self.held[0, :, :, start:end], self.held[1, :, :, start:end] = key, value
        self.count = end
        return self.held[0, :, :, :end], self.held[1, :, :, :end]

    def spread(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat."""
        self.held = self.held[:, rows]


class Block(nn.Module):
    """h + Attention(norm h), then h + MLP(norm h): every entry attends to itself and those before it.

    Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V (Vaswani et al., 2017, arXiv:1706.03762, Eq. 1), normalised first
    and GELU as in GPT-2 (Radford et al., 2019, section 2.3). Queries and keys are turned by their place, so that their
    product knows how far apart they are (rotary positions, Su et al., 2021, arXiv:2104.09864, Eq. 16).
    """

    def __init__(self, width: int, depth: int, dropout: float):
        super().__init__()
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads_of(width, HEAD, 2)), FeedForward(width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.attention.enter, self.attention.leave, self.mlp.enter, self.mlp.leave):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        for layer in (self.attention.leave, self.mlp.leave):
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * depth))  # so many residuals are added up

    def forward(self, h: Tensor, turns: Tensor, keys: Keys | None = None) -> Tensor:
        """[B, T, width], turned by [T, d / 2] numbers of modulus 1.

        With keys, T entries that follow those already there: one, or - there are none - several.
        """
        query, key, value = self.attention.split(self.norm(h))
        query, key = turned(query, turns), turned(key, turns)
        if keys is not None:
            key, value = keys.put(key, value)
        h = h + self.dropout(self.attention.join(query, key, value, causal=query.shape[2] > 1))
        return h + self.dropout(self.mlp(self.norm_2(h)))


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """[B, heads, T, d] with every pair of numbers turned by its place, [T, d / 2] of modulus 1."""
    pairs = torch.view_as_complex(x.to(turns.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x)


class Transformer(SequenceNetwork):
    """Logits of every entry's level from the entries before it; GPT (Radford et al., 2018 and 2019).

    Entries are tokens (text) or levels low, low + step, ... (pictures, in raster order, the colours of a pixel one
    after the other), with learned vectors, which the logits share (Press & Wolf, 2017, arXiv:1608.05859). Attention
    knows distances; the places of pictures also have learned vectors, while windows of a text begin anywhere in it. In
    front stands a token of its own; the `vector`, of length width, is added to it, so all entries see it.
    """

    angles: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        levels: int,
        *,
        low: float = 0.0,
        step: float = 1.0,
        width: int,
        depth: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shape, self.levels, self.low, self.step = tuple(shape), levels, low, step
        self.entries = math.prod(shape)
        self.tokens = nn.Parameter(torch.randn(levels, width) * 0.02)
        self.first = nn.Parameter(torch.randn(width) * 0.02)
        self.places = nn.Parameter(torch.randn(self.entries, width) * 0.02) if len(shape) > 1 else None
        slower = 10_000.0 ** -torch.arange(0, 1, 2 * heads_of(width, HEAD, 2) / width)  # [d / 2]
        self.register_buffer("angles", torch.arange(self.entries)[:, None] * slower, persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.stack = nn.ModuleList([Block(width, depth, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    @property
    def blocks(self) -> list[Block]:
        """First to last."""
        return cast("list[Block]", list(self.stack))

    def embed(self, values: Tensor) -> Tensor:
        """[B, T] of model space -> [B, T, width]."""
        index = ((values - self.low) / self.step).round().clamp(0, self.levels - 1).long()
        return nn.functional.embedding(index, self.tokens)

    def front(self, n: int, vector: Tensor | None) -> Tensor:
        """[n, 1, width] the token before the first."""
        return (self.first if vector is None else self.first + vector).expand(n, -1)[:, None]

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        h = torch.cat([self.front(len(x), vector), self.embed(in_order(x)[:, :-1])], dim=1)
        return arranged(self.logits(self.pass_through(h)), self.shape)

    def pass_through(self, h: Tensor, keys: Sequence[Keys] | None = None, start: int = 0) -> Tensor:
        """[B, T, width] of the entries from `start` on, through all blocks."""
        angles = self.angles[start : start + h.shape[1]]
        turns = torch.polar(torch.ones_like(angles), angles)
        if self.places is not None:
            h = h + self.places[start : start + h.shape[1]]
        h = self.dropout(h)
        for number, block in enumerate(self.blocks):
            h = block(h, turns, None if keys is None else keys[number])
        return h

    def logits(self, h: Tensor) -> Tensor:
        """[..., width] -> [..., levels]."""
        return linear(self.norm(h), self.tokens)

    def walk(self, n: int, vector: Tensor | None = None) -> SequenceWalk:
        return CachedWalk(self, n, vector)


class CachedWalk(SequenceWalk):
    """One new token through the blocks per entry: the keys and values of those before it are kept."""

    def __init__(self, network: Transformer, n: int, vector: Tensor | None):
        self.network, self.seen = network, 0  # tokens that went through the blocks
        kind = torch.int64 if len(network.shape) == 1 else network.first.dtype
        self.x = torch.zeros(n, *network.shape, dtype=kind, device=network.first.device)
        self.next = network.front(n, vector)
        width = len(network.first)
        self.keys = [Keys(self.next, n, block.attention.heads, network.entries, width) for block in network.blocks]

    def predict(self, place: tuple[int, ...]) -> Tensor:
        h = self.network.pass_through(self.next, self.keys, self.seen)
        self.seen += 1
        return self.network.logits(h)[:, 0]

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        super().write(place, value)
        self.next = self.network.embed(value[:, None])

    def read(self, x: Tensor, steps: int) -> None:
        count = steps * self.network.channels
        flat = x if x.ndim == 2 else x.flatten(2)  # [n, C, steps]
        self.x.view(flat.shape)[..., :steps] = flat[..., :steps]
        if count:
            h = torch.cat([self.next, self.network.embed(in_order(x)[:, :count])], dim=1)
            self.network.pass_through(h[:, :-1], self.keys)
            self.next, self.seen = h[:, -1:], count

    def spread(self, rows: Tensor) -> None:
        self.x, self.next = self.x[rows], self.next[rows]
        for keys in self.keys:
            keys.spread(rows)
