"""Models of several games, played one after another: what a pyramid, a ranking and a boosting have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from exnihilo.core import GenerativeModel, Player
from exnihilo.models.gans.family import GAN


class Games(GenerativeModel):
    """Games of a generator against a critic; whoever inherits says in which order, on which data, and what they make.

    Every game is an adversarial network of its own, with its own `spec`. Optimiser and batch are those of the first.
    """

    def __init__(self, games: Iterable[GAN]):
        super().__init__()
        self.games: list[GAN] = nn.ModuleList(games)  # type: ignore[assignment]
        self.optimizer, self.batch = self.games[0].optimizer, self.games[0].batch
        self.compilable = all(game.compilable for game in self.games)

    def players(self) -> Iterator[Player]:
        """Those of all games; a stage seats those of one."""
        for game in self.games:
            yield from game.players()
