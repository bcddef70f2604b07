"""What adversarial recipes have in common: what they say of themselves, their usual options, penalty and optimiser."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from exnihilo.core import adam, cosine, recipe
from exnihilo.core.optimizers import OptimizerFactory
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


def lazy_r1(weight: float, every: int) -> dict[str, Penalty]:
    """R1 of this weight in every so many rounds as the only penalty, or none at weight 0."""
    return {"r1": R1(weight, every)} if weight else {}
