"""Networks that read a sequence step by step: their order, what enters and leaves at a step, and a recurrent one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.nets.layers import zero_init
from exnihilo.nets.masked import CausalNetwork, Walk

State = tuple[Tensor, ...]


def in_order(x: Tensor) -> Tensor:
    """[B, *shape] -> [B, entries], first to last: step by step (pixels row by row), in each step the channels."""
    return x if x.ndim == 2 else x.movedim(1, -1).flatten(1)


def arranged(parameters: Tensor, shape: Sequence[int]) -> Tensor:
    """[B, entries, per_entry] of the entries in order -> [B, per_entry * shape[0], *shape[1:]], as likelihoods ask."""
    if len(shape) == 1:
        return parameters.transpose(1, 2).flatten(1)
    spread = parameters.unflatten(1, (*shape[1:], shape[0]))  # [B, *space, C, per_entry]
    return spread.movedim(-1, 1).movedim(-1, 2).flatten(1, 2)


class SequenceNetwork(CausalNetwork):
    """A causal network over ids (T,), series (C, T) or pictures (C, H, W), in the order of `in_order`."""

    def order(self) -> Iterator[tuple[int, ...]]:
        if len(self.shape) == 1:
            return ((step,) for step in range(self.shape[0]))
        channels, *space = self.shape
        return ((channel, *place) for place in product(*map(range, space)) for channel in range(channels))

    @property
    def channels(self) -> int:
        """Entries of one step."""
        return 1 if len(self.shape) == 1 else self.shape[0]

    def walk(self, n: int, vector: Tensor | None = None) -> SequenceWalk:
        raise NotImplementedError


class SequenceWalk(Walk):
    """A walk that takes a known beginning in one pass, and goes on from one beginning along many ways."""

    def read(self, x: Tensor, steps: int) -> None:
        """Before the first prediction: the first `steps` steps are those of x [n, *shape]."""
        raise NotImplementedError

    def spread(self, rows: Tensor) -> None:
        """Go on with these rows [m] of what was so far; a row may occur many times."""
        raise NotImplementedError


class Tokens(nn.Module):
    """Levels low, low + step, ... as learned vectors, x [B, C, T] or [B, T] -> [B, T, width]: of channels, the sum.

    NaN, a level that is missing, has a vector of its own.
    """

    def __init__(self, levels: int, width: int, *, low: float, step: float, channels: int = 1):
        super().__init__()
        self.levels, self.low, self.step, self.channels = levels, low, step, channels
        self.embedding = nn.Embedding(channels * (levels + 1), width)
        nn.init.normal_(self.embedding.weight, std=channels**-0.5)

    def index(self, x: Tensor) -> Tensor:
        """0 ... levels - 1 of the nearest levels; `levels` of what is missing."""
        nearest = ((x - self.low) / self.step).round().clamp(0, self.levels - 1)
        return torch.where(x.isnan(), self.levels, nearest).long()

    def forward(self, x: Tensor) -> Tensor:
        index = self.index(x)
        if self.channels == 1:
            return self.embedding(index.view(len(x), x.shape[-1]))
        block = torch.arange(self.channels, device=x.device)[:, None] * (self.levels + 1)
        return self.embedding(index + block).sum(dim=1)


class Numbers(nn.Module):
    """Numbers [B, C, T] -> [B, T, width], linear in them and in which of them are missing (NaN, read as 0)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.linear = nn.Linear(2 * channels, width)

    def forward(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        return self.linear(torch.cat([x.nan_to_num(0.0), missing.to(x)], dim=1).mT)


class Leave(nn.Module):
    """Parameters for all channels of a step: linear in the features, and in the channels before them in the step.

    p(x_t | past) = prod_c p(x_tc | past, x_t1 ... x_t,c-1), so channels need not be independent given the past. Starts
    at zero.
    """

    open: Tensor
    within: nn.Parameter | None

    def __init__(self, features: int, channels: int, per_entry: int):
        super().__init__()
        self.channels, self.per_entry = channels, per_entry
        self.linear = nn.Linear(features, per_entry * channels)
        zero_init(self.linear)
        self.within = nn.Parameter(torch.zeros(per_entry, channels, channels)) if channels > 1 else None
        self.register_buffer("open", torch.ones(channels, channels).tril(-1), persistent=False)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """[B, T, features], x [B, C, T] -> [B, per_entry * C, T]."""
        parameters = self.linear(h).mT
        if self.within is None:
            return parameters
        told = torch.einsum("pcb,nbt->npct", self.within * self.open, x.nan_to_num(0.0))
        return parameters + told.flatten(1, 2)

    def entry(self, h: Tensor, x: Tensor, channel: int) -> Tensor:
        """[B, per_entry] of one channel, from the features [B, features] and the step's x [B, C] so far."""
        if self.within is None:
            return self.linear(h)
        rows = slice(channel, None, self.channels)
        told = x.nan_to_num(0.0) @ (self.within[:, channel] * self.open[channel]).mT
        return nn.functional.linear(h, self.linear.weight[rows], self.linear.bias[rows]) + told


class Memory:
    """What a network keeps of the steps that it has seen, for n sequences at once."""

    def step(self, h: Tensor) -> Tensor:
        """[n, width] what enters at the next step -> [n, features]."""
        raise NotImplementedError

    def read(self, h: Tensor) -> None:
        """The first steps [n, steps, width] at once, from an empty memory."""
        raise NotImplementedError

    def spread(self, rows: Tensor) -> None:
        """Keep these rows, which may repeat."""
        raise NotImplementedError


class StepNetwork(SequenceNetwork):
    """One pass of `features` over a series [C, T] whose step t enters at t + 1; a learned vector enters at first."""

    def __init__(self, shape: Sequence[int], enter: nn.Module, width: int, leave: Leave):
        super().__init__()
        self.shape, self.enter, self.leave = tuple(shape), enter, leave
        self.first = nn.Parameter(torch.zeros(width))

    def features(self, h: Tensor, vector: Tensor | None) -> Tensor:
        """[B, T, width] -> [B, T, features], each from what entered up to its step."""
        raise NotImplementedError

    def memory(self, n: int, vector: Tensor | None) -> Memory:
        """An empty one."""
        raise NotImplementedError

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.leave(self.features(self.entering(x), vector), x)

    def entering(self, x: Tensor) -> Tensor:
        """[B, T, width] what enters at each step of x."""
        return torch.cat([self.first.expand(len(x), 1, -1), self.enter(x[:, :, :-1])], dim=1)

    def walk(self, n: int, vector: Tensor | None = None) -> SequenceWalk:
        return StepWalk(self, n, vector)


class StepWalk(SequenceWalk):
    """One step of the features per step of the series, whatever came before."""

    def __init__(self, network: StepNetwork, n: int, vector: Tensor | None):
        self.network, self.memory = network, network.memory(n, vector)
        self.x = network.first.new_zeros(n, *network.shape)
        self.h = torch.empty(0)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        channel, step = place
        if channel == 0:
            before = self.network.first.expand(len(self.x), -1)
            if step:
                before = self.network.enter(self.x[:, :, step - 1 : step])[:, 0]
            self.h = self.memory.step(before)
        return self.network.leave.entry(self.h, self.x[:, :, step], channel)

    def read(self, x: Tensor, steps: int) -> None:
        self.x[:, :, :steps] = x[:, :, :steps]
        if steps:
            self.memory.read(self.network.entering(self.x[:, :, :steps]))

    def spread(self, rows: Tensor) -> None:
        self.x = self.x[rows]
        self.memory.spread(rows)


class Recurrent(StepNetwork):
    """`depth` layers of LSTM or GRU; a vector is added to what enters at every step.

    Hochreiter & Schmidhuber, 1997; Cho et al., 2014, arXiv:1406.1078. Its state after a step is all that it keeps.
    direct: numbers that leave beside the cells' features (see `Lagged`).
    """

    def __init__(
        self,
        shape: Sequence[int],
        enter: nn.Module,
        per_entry: int,
        *,
        cell: Literal["lstm", "gru"],
        width: int,
        depth: int,
        vector: int = 0,
        dropout: float = 0.0,
        direct: int = 0,
    ):
        super().__init__(shape, enter, width, Leave(width + direct, shape[0], per_entry))
        build = nn.LSTM if cell == "lstm" else nn.GRU
        self.cells = build(width, width, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.tell = nn.Linear(vector, width, bias=False) if vector else None

    def told(self, h: Tensor, vector: Tensor | None) -> Tensor:
        """h [B, steps, width] with the vector in it."""
        return h if self.tell is None or vector is None else h + self.tell(vector)[:, None]

    def features(self, h: Tensor, vector: Tensor | None) -> Tensor:
        return self.cells(self.told(h, vector))[0]  # type: ignore[no-any-return]

    def memory(self, n: int, vector: Tensor | None) -> Memory:
        return RecurrentMemory(self, vector)


class RecurrentMemory(Memory):
    """The state (h, and of an LSTM c), each [depth, n, width]; none before the first step."""

    def __init__(self, network: Recurrent, vector: Tensor | None):
        self.network, self.vector = network, vector
        self.state: State | None = None

    def step(self, h: Tensor) -> Tensor:
        return self._run(h[:, None])[:, 0]

    def read(self, h: Tensor) -> None:
        self._run(h)

    def _run(self, h: Tensor) -> Tensor:
        before = self.state if self.state is None or len(self.state) == 2 else self.state[0]
        answer, after = self.network.cells(self.network.told(h, self.vector), before)
        self.state = after if isinstance(after, tuple) else (after,)
        return answer

    def spread(self, rows: Tensor) -> None:
        if self.vector is not None:
            self.vector = self.vector[rows]
        if self.state is not None:
            self.state = tuple(part[:, rows] for part in self.state)
