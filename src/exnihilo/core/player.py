"""Whoever learns is a player; training is stages of rounds of players."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from exnihilo.core.data import Batch, Data
from exnihilo.core.optimizers import OptimizerFactory

#: Named scalars: those with a gradient are summed and minimised, detached ones are only logged.
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Player:
    """One side of the game: whose parameters move, what they minimise, and how often.

    Players of one name share a module and an optimiser (a critic and its lazy penalty). While a player moves, every
    other parameter is frozen, so its loss needs no `.detach()` on the others' outputs.
    """

    name: str  # prefix of its log lines
    module: nn.Module  # the only parameters that move (a ModuleList for several); the model's own
    loss: Callable[[Batch], Terms]
    steps: int = 1  # updates per round, each on a fresh batch (WGAN critic: 5)
    every: int = 1  # plays each n-th round, its loss scaled by n (lazy regularisation)
    optimizer: OptimizerFactory | None = None  # None: the model's
    after: Callable[[Terms], None] | None = None  # the terms just minimised, detached: clip weights, move a teacher
    when: Callable[[], bool] | None = None  # may sit out a turn; reads a buffer that another player's `after` set
    coupled: bool = False  # the loss compares examples of a batch with each other: no gradient accumulation


@dataclass(frozen=True)
class Stage:
    """Part of the training with its own players: a layer, a resolution, a boosting round, a codebook's prior."""

    name: str
    players: Callable[[], Iterable[Player]]
    share: float = 1.0  # of the rounds, relative to the other stages; a stage without players takes none
    enter: Callable[[Data], None] | None = None  # once, before the first round: open blocks, solve in closed form
    view: Callable[[Data], Data] | None = None  # the data as this stage sees it; pure, a resume calls it again
