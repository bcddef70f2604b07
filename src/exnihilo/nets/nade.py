"""NADE: the hidden layer before an entry grows out of the one before the entry before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from exnihilo.nets.masked import CausalNetwork, Walk, entry_at, place_of

Activation = Callable[[Tensor], Tensor]
#: Numbers inside that a processor's cache holds.
CACHED = 1 << 21


class NADECell(nn.Module):
    """h(known) = g(rho (c + sum of W_d x_d + U_d over the known entries d)); entry i: b_i + V_i h, whatever is known.

    Larochelle & Murray, 2011, Eq. 1-2. rho_i, the rescaling of RNADE (Uria et al., 2013, arXiv:1306.0186, Eq. 8), and
    U, by which hidden units know what is known (Uria et al., 2014, arXiv:1310.1757, section 4.2), with `rescaled` and
    `agnostic`. depth > 1: further hidden layers of the same width (DeepNADE). A `vector` is added to c.
    """

    def __init__(
        self,
        entries: int,
        per_entry: int,
        *,
        width: int,
        depth: int = 1,
        activation: Activation = torch.sigmoid,
        rescaled: bool = False,
        agnostic: bool = False,
        vector: int = 0,
    ):
        super().__init__()
        self.activation = activation
        spread = 1 / math.sqrt(entries)
        self.weight = nn.Parameter(torch.empty(entries, width).uniform_(-spread, spread))  # W, a row an entry
        self.presence = nn.Parameter(torch.zeros(entries, width)) if agnostic else None  # U
        self.bias = nn.Parameter(torch.zeros(width))  # c
        start = torch.arange(1, entries + 1).rsqrt()[:, None]  # of a sum of so many numbers
        self.scale = nn.Parameter(start) if rescaled else None  # rho, by how many are known
        self.tell = nn.Linear(vector, width, bias=False) if vector else None
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth - 1)])
        self.leave_weight = nn.Parameter(torch.zeros(entries, per_entry, width))  # V
        self.leave_bias = nn.Parameter(torch.zeros(entries, per_entry))  # b

    def start(self, n: int, vector: Tensor | None) -> Tensor:
        """[n, width] a, the sum inside, while nothing is known."""
        told = 0.0 if self.tell is None or vector is None else self.tell(vector)
        return self.bias.expand(n, -1) + told

    def step(self, value: Tensor, entry: Tensor) -> Tensor:
        """[..., width] what values [...] of entries [...] add to a."""
        added = value[..., None] * self.weight[entry]
        return added if self.presence is None else added + self.presence[entry]

    def hidden(self, a: Tensor, known: Tensor) -> Tensor:
        """[..., width] h of a [..., width], when `known` [...] entries are."""
        h = self.activation(a if self.scale is None else a * self.scale[known])
        for layer in self.layers:
            h = self.activation(layer(h))
        return h

    def given(self, x: Tensor, mask: Tensor, vector: Tensor | None) -> Tensor:
        """[B, per_entry, D] of every entry, given those of x [B, D] where mask [B, D] is 1: any at all."""
        a = self.start(len(x), vector) + (x * mask) @ self.weight
        if self.presence is not None:
            a = a + mask @ self.presence
        known = mask.sum(dim=1).long().clamp(max=len(self.weight) - 1)
        return torch.einsum("bh,dph->bpd", self.hidden(a, known), self.leave_weight) + self.leave_bias.T


class NADE(CausalNetwork):
    """Every entry from those before it in one order; networks of other orders may share the cell.

    One pass of cost D * sqrt(D) * width. Caution: training keeps B * D * width numbers.
    """

    inverse: Tensor
    sequence: Tensor

    def __init__(self, cell: NADECell, shape: Sequence[int], order: Tensor | None = None):
        super().__init__()
        self.cell, self.shape = cell, tuple(shape)
        sequence = torch.arange(math.prod(shape)) if order is None else order
        self.register_buffer("sequence", sequence, persistent=False)
        self.register_buffer("inverse", sequence.argsort(), persistent=False)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled():
            return self._answer(x, vector)
        few = max(1, CACHED // self.cell.weight.numel())  # without gradients in parts, as fast as the cache allows
        vectors = [None] * max(1, len(x)) if vector is None else vector.split(few)
        return torch.cat([self._answer(*part) for part in zip(x.split(few), vectors, strict=False)])

    def _answer(self, x: Tensor, vector: Tensor | None) -> Tensor:
        cell, order = self.cell, self.sequence
        known = torch.arange(len(order), device=x.device)[:, None]
        h = cell.hidden(self._inside(x.flatten(1)[:, order], vector), known)
        answer = h @ cell.leave_weight[order].mT + cell.leave_bias[order][:, None]  # [D, B, per_entry]
        return answer.permute(1, 2, 0)[:, :, self.inverse].reshape(len(x), -1, *self.shape[1:])

    def _inside(self, x: Tensor, vector: Tensor | None) -> Tensor:
        """[D, B, width] a before every entry of x [B, D], both in order.

        Entries are added up block by block, within a block by one product with a triangle: half again as fast as a
        running sum over D * width numbers of every example.
        """
        cell, (n, entries) = self.cell, x.shape
        size = math.isqrt(entries - 1) + 1
        more = -entries % size  # zeros that fill up the last block
        x = pad(x, (0, more)).view(n, -1, size).transpose(0, 1)  # [blocks, B, size]
        weight = pad(cell.weight[self.sequence], (0, 0, 0, more)).view(len(x), size, -1)
        earlier = x.new_ones(size, size).tril(-1)[:, None] * x[:, None]  # [blocks, size, B, size]
        own = (earlier.flatten(1, 2) @ weight).view(len(x), size, n, -1)
        blocks = torch.cat([cell.start(n, vector)[None], (x @ weight)[:-1]]).cumsum(dim=0)  # of the blocks before
        a = (own + blocks[:, None]).flatten(0, 1)[:entries]
        if cell.presence is None:
            return a
        presence = cell.presence[self.sequence]
        return a + (presence.cumsum(dim=0) - presence)[:, None]

    def order(self) -> Iterator[tuple[int, ...]]:
        return (place_of(entry, self.shape) for entry in self.sequence.tolist())

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return NADEWalk(self, n, vector)


class NADEWalk(Walk):
    """Keeps the sums inside, so that a step costs `width`, not D * width."""

    def __init__(self, network: NADE, n: int, vector: Tensor | None):
        self.cell, self.shape, self.known = network.cell, network.shape, 0
        self.a = network.cell.start(n, vector)
        self.x = self.a.new_zeros(n, *network.shape)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        entry, cell = entry_at(place, self.shape), self.cell
        h = cell.hidden(self.a, torch.tensor(self.known, device=self.a.device))
        return linear(h, cell.leave_weight[entry], cell.leave_bias[entry])

    def write(self, place: tuple[int, ...], value: Tensor) -> None:
        super().write(place, value)
        self.a = self.a + self.cell.step(value, torch.tensor(entry_at(place, self.shape), device=value.device))
        self.known += 1
