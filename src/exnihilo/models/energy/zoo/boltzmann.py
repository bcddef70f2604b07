"""Boltzmann machines: binary units with pairwise connections, all of them, between layers, or in stacks."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, ModelError, OptionError, adam, linear, recipe, sgd
from exnihilo.models.energy.boltzmann import RestrictedBoltzmannMachine
from exnihilo.models.energy.deep import DeepBoltzmannMachine
from exnihilo.models.energy.general import (
    BoltzmannMachine,
    Enumerated,
    MeanField,
    PseudoLikelihood,
    Rule,
    Sampled,
)
from exnihilo.models.energy.machines import refuse_enumeration
from exnihilo.models.energy.negatives import Contrastive, Negative, Persistent
from exnihilo.models.energy.stacked import DeepBeliefNet
from exnihilo.models.energy.units import QUICK

#: Kinds that hold bits, or grey levels that are taken as probabilities of bits.
BITS = ("image", "vector")


def grey_levels(name: str, data: DataSpec) -> bool:
    """Whether the data hold more than bits; a ModelError for numbers, which are no probabilities of bits."""
    if data.kind != "image" and data.levels != 2:
        raise ModelError(
            f"{name} models bits: pictures, or data of two values. This {data.kind} holds others; an rbm has Gaussian"
            " units for them."
        )
    return data.levels != 2


@recipe("A Learning Algorithm for Boltzmann Machines", "Ackley et al., 1985", kinds=BITS)
def boltzmann(
    data: DataSpec,
    *,
    hidden: Annotated[int, 0, 4096] = 0,
    rule: Literal["auto", "exact", "pcd", "mean_field", "pseudo"] = "auto",
    k: Annotated[int, 1, 1000] = 1,
    chains: Annotated[int, 1, 65536] = 100,
) -> BoltzmannMachine:
    """Binary units that are all connected to each other, visible ones and `hidden` others.

    rule, for the part of the gradient that the machine itself gives: `exact` sums over all 2^n states (20 units at
    most); `pcd` runs `chains` on for `k` Gibbs sweeps an update; `mean_field` solves for the means and a share of the
    covariances of the data at once, for weak couplings; `pseudo` maximises the pseudo-likelihood instead. The last two
    know no hidden units. auto: exact up to 14 units, else pcd. Unlike the paper's, chains are not annealed but go on
    from update to update, and hidden units of the data are at their mean-field means.
    """
    grey, units = grey_levels("boltzmann", data), data.size + hidden
    chosen = rule if rule != "auto" else ("exact" if units <= QUICK else "pcd")
    rules: dict[str, type[Rule]] = {
        "exact": Enumerated, "pcd": Sampled, "mean_field": MeanField, "pseudo": PseudoLikelihood
    }  # fmt: skip
    if chosen == "exact":
        refuse_enumeration(units, "rule=pcd")
    if chosen in ("pseudo", "mean_field") and hidden:
        raise OptionError(f"boltzmann: rule={chosen} knows no hidden units. Use hidden=0 or rule=pcd.")
    return BoltzmannMachine(
        data.shape,
        rules[chosen](),
        Persistent(chains, units) if chosen == "pcd" else Negative(),
        hidden=hidden,
        low=data.low,
        grey=grey,
        sweeps=k,
        optimizer=adam(1e-2, schedule=linear()),
    )


@recipe("Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient", "Tieleman, 2008")
def rbm(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 65536] = 128,
    visible: Literal["auto", "bernoulli", "gaussian"] = "auto",
    negative: Literal["pcd", "cd"] = "pcd",
    k: Annotated[int, 1, 1000] = 1,
    chains: Annotated[int, 1, 65536] = 256,
) -> RestrictedBoltzmannMachine:
    """Hidden binary units explain the visible ones; `width` of them, with persistent chains or contrastive divergence.

    Binary visible units for images and for data of two values, Gaussian ones for the rest; `k` sweeps of Gibbs sampling
    for each update (CD-k, PCD-k). Tables: flags and categories are Gaussian units as well, one for each category,
    spread over their steps like any number; a sample's category is the largest of its units. Nothing but the hidden
    units keeps two of them from being large at once, so for tables of many categories a vae, with a head for each
    column, suits better.
    """
    binary = data.kind == "image" or data.levels == 2
    if visible == "bernoulli" and not binary:
        raise OptionError(
            f"rbm: visible=bernoulli takes images or data of two values; this {data.kind} holds others."
            " Use visible=gaussian."
        )
    units: Literal["bernoulli", "gaussian"] = "bernoulli" if binary and visible != "gaussian" else "gaussian"
    return RestrictedBoltzmannMachine(
        data.shape,
        width,
        Persistent(chains, width) if negative == "pcd" else Contrastive(),
        units=units,
        low=data.low,
        grey=units == "bernoulli" and data.levels != 2,
        sweeps=k,
        optimizer=sgd(0.1, decay=1e-4, schedule=linear())
        if units == "bernoulli"
        else adam(1e-2, clip=5.0, schedule=linear()),
    )


@recipe("A Fast Learning Algorithm for Deep Belief Nets", "Hinton et al., 2006", kinds=BITS)
def dbn(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 65536] = 128,
    depth: Annotated[int, 2, 8] = 2,
    k: Annotated[int, 1, 1000] = 1,
    chains: Annotated[int, 1, 65536] = 100,
    together: Annotated[float, 0.0, 100.0] = 1.0,
) -> DeepBeliefNet:
    """Restricted machines stacked on each other, `depth` hidden layers of `width`; only the top one is undirected.

    Learned level by level, then all at once by the up-down algorithm for a share `together` of the rounds relative to
    a level's (0: not at all). Unlike the paper's: persistent chains throughout, and no units for labels. Caution: a
    level above can only help as far as the one below is well learned; on small data an rbm is often as good.
    """
    return DeepBeliefNet(
        data.shape,
        [width] * depth,
        chains=chains,
        low=data.low,
        grey=grey_levels("dbn", data),
        sweeps=k,
        together=together,
        optimizer=sgd(0.1, decay=1e-4, schedule=linear()),
        gentle=sgd(0.02, decay=1e-4, schedule=linear()),
    )


@recipe("Deep Boltzmann Machines", "Salakhutdinov & Hinton, 2009", kinds=BITS)
def dbm(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 65536] = 64,
    depth: Annotated[int, 2, 8] = 2,
    k: Annotated[int, 1, 1000] = 1,
    chains: Annotated[int, 1, 65536] = 100,
    inference: Annotated[int, 1, 1000] = 10,
) -> DeepBoltzmannMachine:
    """Layers of binary units, each connected to both its neighbours: `depth` hidden ones of `width`.

    Levels are learned alone first, then together: `inference` mean-field iterations for the data, `k` sweeps of
    persistent chains for the model. Unlike the paper's: weights are not made to be sparse, and there are no units for
    labels.
    """
    return DeepBoltzmannMachine(
        data.shape,
        [width] * depth,
        chains=chains,
        low=data.low,
        grey=grey_levels("dbm", data),
        sweeps=k,
        inference=inference,
        optimizer=sgd(0.1, decay=1e-4, schedule=linear()),
        gentle=sgd(0.05, decay=1e-4, schedule=linear()),
    )
