"""NADE: the hidden layer before an entry grows out of the one before the entry before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from exnihilo.nets.masked import CausalNetwork, Walk, entry_at, place_of

Activation = Callable[[Tensor], Tensor]


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
        """Block by block of entries, so that a processor's cache holds what is inside of one.

        Within a block entries are added up by one product with a triangle.
        """
        cell, size = self.cell, math.isqrt(len(self.sequence) - 1) + 1
        a, answers = cell.start(len(x), vector), []
        own = (cell.weight, cell.leave_weight, cell.leave_bias)
        weights, leaves, biases = (part[self.sequence].split(size) for part in own)
        places = torch.arange(len(self.sequence), device=x.device).split(size)
        for values, weight, leave, bias, place in zip(
            x.flatten(1)[:, self.sequence].split(size, dim=1), weights, leaves, biases, places, strict=True
        ):
            earlier = values.new_ones(len(place), len(place)).tril(-1)[:, None] * values  # [block, B, block]
            inside = a + (earlier.flatten(0, 1) @ weight).view(len(place), len(x), -1)
            a = a + values @ weight
            if cell.presence is not None:
                presence = cell.presence[self.sequence[place]]
                inside = inside + (presence.cumsum(dim=0) - presence)[:, None]
                a = a + presence.sum(dim=0)
            h = cell.hidden(inside, place[:, None])
            told = (h * leave).sum(dim=2, keepdim=True) if leave.shape[1] == 1 else h @ leave.mT  # the sum is faster
            answers.append(told + bias[:, None])
        answer = torch.cat(answers)  # [D, B, per_entry]
        return answer.permute(1, 2, 0)[:, :, self.inverse].reshape(len(x), -1, *self.shape[1:])

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
