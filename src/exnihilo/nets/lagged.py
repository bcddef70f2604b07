"""A recurrent network that also looks back: at some earlier steps, beside what its state remembers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from exnihilo.nets.sequence import Recurrent, SequenceWalk, StepWalk

LAGS = 5  # steps that are looked back at


def lags_of(season: int) -> list[int]:
    """The steps looked back at, the expected one first: of a season of s > 1 steps s, s + 1, 2 s, 1 and 2."""
    return [season, season + 1, 2 * season, 1, 2] if season > 1 else [1, 2, 3, 4, 5]


def carried(x: Tensor) -> Tensor:
    """x [..., T] with each gap, NaN, at the last value before it; 0 where there is none."""
    missing = x.isnan()
    place = torch.arange(x.shape[-1], device=x.device).where(~missing, -1).cummax(dim=-1).values
    return x.gather(-1, place.clamp(min=0)).where(place >= 0, 0.0)


class Lagged(Recurrent):
    """z_t = (x_{t-l} - b_t for the lags l, b_t);  h_t = LSTM(h_{t-1}, z_t);  parameters_t = linear(h_t, z_t), and b_t.

    b_t = x_{t-s} is the value of a season s ago, or the last one: every location is told as a difference to it, and an
    untrained network tells the (seasonal) naive forecast. Linear in z_t past the cells, so what a linear map of the
    lags knows - with x_{t-1} - x_{t-s-1} a seasonal autoregression - need not go through them. Before a lag is
    reached, the last value stands for it, which z_t also says. locations: which of the `per_entry` numbers are such.
    """

    lags: Tensor
    moved: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        per_entry: int,
        locations: Sequence[int],
        *,
        cell: Literal["lstm", "gru"],
        width: int,
        depth: int,
        vector: int = 0,
        dropout: float = 0.0,
    ):
        looks = shape[0] * (LAGS + 1) + LAGS
        super().__init__(
            shape, nn.Linear(looks, width), per_entry,
            cell=cell, width=width, depth=depth, vector=vector, dropout=dropout, direct=looks,
        )  # fmt: skip
        self.register_buffer("lags", torch.tensor(lags_of(1)))
        moved = torch.zeros(per_entry)
        moved[list(locations)] = 1.0
        self.register_buffer("moved", moved, persistent=False)

    def look(self, x: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """z [B, n, looks] and b [B, C, n] of the steps from `first` on, up to the one after x [B, C, t].

        Only whole series, from step 0, may have gaps: a walk fills them as it goes.
        """
        steps = torch.arange(first, x.shape[2] + 1, device=x.device)[:, None]
        reached = steps >= self.lags  # [n, LAGS]
        held = pad(x if first else carried(x), (1, 0))  # before the first value: 0, the mean
        values = held[:, :, torch.where(reached, steps - self.lags + 1, steps)]  # [B, C, n, LAGS]
        base = values[..., 0]
        missing = pad(x.isnan().to(x), (1, 0))[:, :, first:]
        moves = (values[..., 1:] - base[..., None]).movedim(2, 1).flatten(2)
        z = [moves, base.mT, missing.mT, reached.to(x).expand(len(x), -1, -1)]
        return torch.cat(z, dim=2), base

    def enters(self, z: Tensor, first: int = 0) -> Tensor:
        """[B, n, width] what enters the cells."""
        h = self.enter(z)
        return h if first else torch.cat([h[:, :1] + self.first, h[:, 1:]], dim=1)

    def entering(self, x: Tensor) -> Tensor:
        return self.enters(self.look(x[:, :, :-1])[0])

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        z, base = self.look(x[:, :, :-1])
        h = torch.cat([self.features(self.enters(z), vector), z], dim=2)
        return self.leave(h, x - base) + (self.moved[:, None, None] * base[:, None]).flatten(1, 2)

    def walk(self, n: int, vector: Tensor | None = None) -> SequenceWalk:
        return LaggedWalk(self, n, vector)


class LaggedWalk(StepWalk):
    """One step of the cells, and a look back, per step of the series."""

    network: Lagged

    def __init__(self, network: Lagged, n: int, vector: Tensor | None):
        super().__init__(network, n, vector)
        self.base = torch.empty(0)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        network, (channel, step) = self.network, place
        if channel == 0:
            z, base = network.look(self.x[:, :, :step], step)
            self.h = torch.cat([self.memory.step(network.enters(z, step)[:, 0]), z[:, 0]], dim=1)
            self.base = base[:, :, 0]
        told = network.leave.entry(self.h, self.x[:, :, step] - self.base, channel)
        return told + network.moved * self.base[:, channel, None]
