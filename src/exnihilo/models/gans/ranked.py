"""Generators that must each beat the one before, in the eyes of one critic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import relu

from exnihilo.core import NOTHING, Conditions, Data, Noise, Stage
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.games import Games
from exnihilo.models.gans.penalties import Score


@dataclass(frozen=True, repr=False)
class Ranking:
    """weight E [s(G_old(z)) - s(x) + 2 margin]+: the data score two margins above the generator of the stage before.

    With the margin objective, which asks one between data and the new generator, it makes room for that in between.
    """

    old: GAN
    margin: float
    weight: float = 1.0
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        older = self.old.shown(self.old.generate(self.old.codes(real), NOTHING))
        return self.weight * relu(score(older) - score(real) + 2 * self.margin).mean()


class GoGAN(Games):
    """Stage i: the critic minimises  E [s(G_i(z)) - s(x) + e]+  +  weight E [s(G_{i-1}(z)) - s(x) + 2 e]+.

    Juefei-Xu et al., 2017, arXiv:1704.04865, Sections 3.1 and 3.2: the order s(x) > s(G_i) > s(G_{i-1}) by margins of
    e; G_i minimises -E s(G_i(z)). games: one a stage, all with the same critic; from the second on with the `Ranking`
    against the generator before. A stage goes on from the generator of the last, which then stays as it is. Samples
    are those of the last stage that was begun. Caution: the sum of the two losses is our reading; how the paper weighs
    them could not be verified.
    """

    level: Tensor

    def __init__(self, games: Iterable[GAN]):
        super().__init__(games)
        self.register_buffer("level", torch.tensor(0))  # the last game that was begun

    def stages(self) -> Iterator[Stage]:
        """A game after the other."""
        for level, game in enumerate(self.games):
            yield Stage(f"generator {level + 1}", game.players, enter=partial(self._begin, level))

    def _begin(self, level: int, data: Data) -> None:
        self.level.fill_(level)
        if level:
            self.games[level].generator.load_state_dict(self.games[level - 1].generator.state_dict())

    @property
    def game(self) -> GAN:
        """The last that was begun."""
        return self.games[int(self.level)]

    def decode(self, z: Tensor) -> Tensor:
        """The sample [B, *shape] that the last generator makes of each latent [B, width]."""
        return self.game.decode(z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), width]."""
        return self.game.draw_code(noise)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """By the last generator."""
        return self.game.draw(noise)
