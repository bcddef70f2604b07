"""What adversarial recipes have in common: what they say of themselves, their usual options, penalty and optimiser."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, TypedDict

from exnihilo.core import DataSpec, adam, cosine, recipe
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.gans.networks import few
from exnihilo.models.gans.penalties import R1, Penalty

# Options that most recipes have, with their bounds.
Latent = Annotated[int, 1, 1024]
Width = Annotated[int, 4, 4096]
Rate = Annotated[float, 1e-7, 1]
Weight = Annotated[float, 0, 1000]

NOT_TEXT = (
    "a generator is taught by the slope of the critic's score at what it makes, and there is none at tokens that were"
    " drawn; a model with a likelihood learns text"
)

#: `@adversarial(title, authors, arxiv=...)`: a recipe for every kind of data but text, with the reason.
adversarial = partial(recipe, kinds=("image", "vector", "table", "series"), unfit={"text": NOT_TEXT})


def calm_adam(rate: float) -> OptimizerFactory:
    """Adam without momentum, which overshoots in a game, its rate falling along half a cosine."""
    return adam(rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0))


def sized(
    data: DataSpec, width: int | None, rate: float | None, usual: tuple[int, float] = (256, 1e-3)
) -> tuple[int, float]:
    """(width, rate) as asked; None: as `usual`, or 64 and 5e-3 for vectors of a few numbers.

    Such data have many sharp modes and no other structure: what counts is how often and how far the players move, and
    narrow networks move faster and bear larger steps. In equal time `gan` found 24 modes of grid25, with the usual
    ones 13.
    """
    small = (64, 5e-3) if few(data) else usual
    return width or small[0], rate or small[1]


def lazy_r1(weight: float, every: int, data: DataSpec) -> dict[str, Penalty]:
    """R1 in every so many rounds as the only penalty, or none at weight 0.

    weight: for examples of 64 numbers or more. It is in squared units of distance, and vectors of fewer numbers lie
    closer to each other, so for those it shrinks like their number.
    """
    scale = min(1.0, data.size / 64) if data.kind == "vector" else 1.0
    return {"r1": R1(weight * scale, every)} if weight else {}


class Calm(TypedDict):
    """Slots that most recipes fill alike."""

    penalties: dict[str, Penalty]
    optimizer: OptimizerFactory
    critic_optimizer: OptimizerFactory


def calm(
    data: DataSpec, rate: float, penalty: float, critic_rate: float | None = None, *, clip: float | None = None
) -> Calm:
    """The slots of a calm game: R1 of weight `penalty` in each fourth round, and `calm_adam` for both players.

    critic_rate: the critic's own rate, if it has one. clip: the largest norm of a player's gradient.
    """
    return {
        "penalties": lazy_r1(penalty, 4, data),
        "optimizer": replace(calm_adam(rate), clip=clip),
        "critic_optimizer": replace(calm_adam(critic_rate or rate), clip=clip),
    }
