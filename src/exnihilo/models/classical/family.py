"""Models that are solved at once, in a stage without players: what a deep model has to beat."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from exnihilo.core import Data, DataSpec, GenerativeModel, OptionError, Player, Stage


def training_examples(data: Data, limit: int) -> Tensor:
    """[N, *shape] all examples, or `limit` of them taken at random."""
    return data.first().x if len(data) <= limit else data.batch(0, limit, seed=0).x


def bottleneck(name: str, data: DataSpec, latent: int | None, usual: int = 16) -> int:
    """The length of a linear code; None = the usual one, or one less than x has numbers where these are few."""
    if latent is None:
        return max(1, min(usual, data.size - 1))
    if latent >= data.size:
        raise OptionError(
            f"{name}: latent={latent} is not allowed. An example has {data.size} numbers, and a linear code as long"
            f" says nothing; it takes a whole number from 1 to {max(1, data.size - 1)}."
        )
    return latent


class Classical(GenerativeModel):
    """theta = argmin of a criterion over the whole training split, in closed form or by a standard algorithm.

    A subclass writes `solve(x)`, which fills its buffers. Examples are vectors here: [N, D], pictures flattened.
    """

    average = False
    limit: int = 20_000  # examples that are looked at; more hardly change a classical model

    def players(self) -> Iterable[Player]:
        """Nobody moves."""
        return []

    def stages(self) -> Iterable[Stage]:
        """One, whose `enter` does all the work."""
        return [Stage("solve", self.players, enter=self._enter)]

    @torch.no_grad()
    def _enter(self, data: Data) -> None:
        self.solve(training_examples(data, self.limit))

    def solve(self, x: Tensor) -> None:
        """Set the buffers from examples in model space [N, *shape]; runs in a seeded scope."""
        raise NotImplementedError

    def flat(self, x: Tensor) -> Tensor:
        """[B, *shape] -> [B, D] in double precision, which near-singular covariances need."""
        return x.flatten(1).double()
