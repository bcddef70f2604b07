"""The likelihood of an entry that suits the data, and what classes need."""

from __future__ import annotations

from typing import Literal

from exnihilo.core import DataSpec, OptionError
from exnihilo.nets.layers import Condition
from exnihilo.probability.likelihoods import Bernoulli, Categorical, DiscretisedLogisticMixture, Levels, Likelihood
from exnihilo.probability.mixtures import MixtureOfGaussians, StudentT

FEW = 32  # levels up to which each has a probability of its own; beyond, neighbours are known to be alike
SOUND = 256  # the same, where windows show every level often: of series and sound


def levels_head(data: DataSpec, components: int = 5) -> Levels:
    """A probability for each of a few levels; of many, a mixture of discretised logistics."""
    if data.levels <= FEW:
        return Categorical(data.levels, data.low)
    return DiscretisedLogisticMixture(data.levels, data.low, components)


def entry_head(data: DataSpec, components: int) -> Likelihood:
    """Two levels: Bernoulli; more: as above; continuous: a mixture of Gaussians."""
    if data.levels == 2:
        return Bernoulli(data.low)
    return levels_head(data, components) if data.levels else MixtureOfGaussians(components)


def step_head(data: DataSpec, head: Literal["gaussian", "student", "mixture"], components: int) -> Likelihood:
    """Of series and sound: levels have a probability each, beyond 256 a mixture of logistics; numbers have the head."""
    if data.levels > SOUND:
        return DiscretisedLogisticMixture(data.levels, data.low, components)
    if data.levels:
        return Categorical(data.levels, data.low)
    if head == "student":
        return StudentT()
    return MixtureOfGaussians(components if head == "mixture" else 1)


def class_condition(name: str, data: DataSpec, conditional: bool, width: int) -> Condition | None:
    """The vector of the class for recipe `name`, where it is asked for; an OptionError where there are no classes."""
    if conditional and not data.classes:
        raise OptionError(f"{name}: conditional=true needs labels, and these data have none. Leave it out.")
    return Condition(data.classes, 0, width) if conditional else None
