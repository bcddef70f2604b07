"""Tables, column by column: a head that suits each column's kind, and a masked network that knows where columns end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from exnihilo.core import Column, Noise
from exnihilo.core.columns import quantise_table
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.nets.masked import MaskedNetwork, Walk, hidden_degrees
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.likelihoods import Likelihood
from exnihilo.probability.mixtures import MixtureOfGaussians


class Category(Likelihood):
    """One category of K, as K entries of which the largest counts; parameters: K logits."""

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        chosen = one_hot(x.argmax(dim=1), x.shape[1])
        return parameters.log_softmax(dim=1) * chosen

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return one_hot(noise.categorical(parameters), parameters.shape[1]).to(parameters)


class Gappy(Likelihood):
    """Numbers that may be missing: n values, then n flags; parameters: those of n mixtures, then n logits of the flags.

    Where the flag is set the value is the filler of `DataSpec.dequantise`, N(0, 1), so that it cancels.
    """

    def __init__(self, numbers: MixtureOfGaussians):
        super().__init__()
        self.numbers = numbers
        self.per_entry = numbers.per_entry + 1  # for each of the n

    def _halves(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        n = parameters.shape[1] // self.per_entry
        return parameters[:, :-n], parameters[:, -n:]

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        mixtures, logit = self._halves(parameters)
        value, flag = x.chunk(2, dim=1)
        gone = flag >= 0.5
        here = torch.where(gone, normal_log_prob(value), self.numbers.entries(mixtures, value))
        return torch.cat([here, logsigmoid(torch.where(gone, logit, -logit))], dim=1)

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        mixtures, logit = self._halves(parameters)
        return torch.cat([self.numbers.draw(mixtures, noise), noise.bernoulli(logit.sigmoid())], dim=1)


@dataclass(frozen=True)
class Block:
    """Columns that share a head: where their entries stand in x, and their parameters in the network's answer."""

    head: Likelihood
    columns: tuple[Column, ...]
    parameters: slice

    @property
    def entries(self) -> list[int]:
        """In the head's order: the first entries of all columns, then their second ones."""
        return [column.start + offset for offset in range(self.columns[0].width) for column in self.columns]

    def of(self, column: Column) -> slice:
        """The parameters of one column: every n-th of numbers, all of a category."""
        start = self.parameters.start + self.columns.index(column)
        return slice(start, self.parameters.stop, len(self.columns))


class ColumnHeads(Likelihood):
    """What is said of each column: a mixture of Gaussians of a number, the chance that it is missing, of a category.

    A density over the dequantised row, and equally over the row itself, as `probability.likelihoods.Mixed` is.
    """

    def __init__(self, columns: Sequence[Column], components: int):
        super().__init__()
        numbers = MixtureOfGaussians(components)
        plain = tuple(column for column in columns if column.kind == "number" and not column.missing)
        gappy = tuple(column for column in columns if column.kind == "number" and column.missing)
        self.blocks: list[Block] = []
        for head, some in ((numbers, plain), (Gappy(numbers), gappy)):
            self._add(head, some, head.per_entry * len(some))
        for column in columns:
            if column.kind == "category":
                self._add(Category(), (column,), column.width)
        self.columns = tuple(columns)

    def _add(self, head: Likelihood, columns: tuple[Column, ...], count: int) -> None:
        if columns:
            self.blocks.append(Block(head, columns, slice(self.count, self.count + count)))

    @property
    def count(self) -> int:
        """Numbers that the network makes for a row."""
        return self.blocks[-1].parameters.stop if self.blocks else 0

    def at(self, place: tuple[Any, ...]) -> tuple[Column, Block]:
        """The column whose entries are at a place, and the block that it is in."""
        return next((column, block) for block in self.blocks for column in block.columns if (column.slice,) == place)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        found = torch.zeros_like(x)
        for block in self.blocks:
            place = torch.tensor(block.entries, device=x.device)
            found = found.index_copy(1, place, block.head.entries(parameters[:, block.parameters], x[:, place]))
        return found


class ColumnNetwork(MaskedNetwork):
    """The masked network of a row: what it answers about a column depends on the columns before it alone.

    It reads the row as it was before it was dequantised.
    """

    def __init__(self, heads: ColumnHeads, *, width: int, depth: int, vector: int = 0):
        columns = heads.columns
        ranks_in = torch.cat([torch.full((column.width,), rank) for rank, column in enumerate(columns, start=1)])
        ranks_out = torch.empty(heads.count, dtype=torch.int64)
        for rank, column in enumerate(columns, start=1):
            ranks_out[heads.at((column.slice,))[1].of(column)] = rank
        hidden = [hidden_degrees(width, len(columns), from_zero=vector > 0)] * depth
        super().__init__(ranks_in, hidden, ranks_out, vector=vector, direct=True)
        self.shape, self.heads = (len(ranks_in),), heads

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.answer(quantise_table(self.heads.columns, x), vector)

    def order(self) -> Iterator[tuple[Any, ...]]:
        return ((column.slice,) for column in self.heads.columns)

    def walk(self, n: int, vector: Tensor | None = None) -> Walk:
        return ColumnWalk(self, n, vector)


class ColumnWalk(Walk):
    """A whole pass for every column."""

    def __init__(self, network: ColumnNetwork, n: int, vector: Tensor | None):
        self.network, self.vector = network, vector
        self.x = network.leave.weight.new_zeros(n, *network.shape)

    def predict(self, place: tuple[Any, ...]) -> Tensor:
        column, block = self.network.heads.at(place)
        return self.network(self.x, self.vector)[:, block.of(column)]

    def write(self, place: tuple[Any, ...], value: Tensor) -> None:
        """Where a number is missing, 0 stands."""
        column, _ = self.network.heads.at(place)
        if column.missing:
            value = torch.cat([value[:, :1] * (value[:, 1:] < 0.5), value[:, 1:]], dim=1)
        super().write(place, value)


class AutoregressiveTable(Autoregressive):
    """log p(row) = sum_j log p(column j | the columns before it)."""

    network: ColumnNetwork

    def head(self, place: tuple[Any, ...]) -> Likelihood:
        return self.network.heads.at(place)[1].head
