"""Boltzmann machines: binary units with pairwise connections."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, OptionError, adam, linear, recipe, sgd
from exnihilo.models.energy.boltzmann import RestrictedBoltzmannMachine
from exnihilo.models.energy.negatives import Contrastive, Persistent


@recipe("Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient", "Tieleman, 2008")
def rbm(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 65536] = 128,
    visible: Literal["auto", "bernoulli", "gaussian"] = "auto",
    negative: Literal["pcd", "cd"] = "pcd",
    sweeps: Annotated[int, 1, 1000] = 1,
    chains: Annotated[int, 1, 65536] = 256,
) -> RestrictedBoltzmannMachine:
    """Hidden binary units explain the visible ones; `width` of them, with persistent chains or contrastive divergence.

    Binary visible units for images and for data of two values, Gaussian ones for the rest; `sweeps` of Gibbs sampling
    for each update. Tables: flags and categories are Gaussian units as well, one for each category, spread over their
    steps like any number; a sample's category is the largest of its units. Nothing but the hidden units keeps two of
    them from being large at once, so for tables of many categories a vae, with a head for each column, suits better.
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
        Persistent(chains, data.size) if negative == "pcd" else Contrastive(),
        units=units,
        low=data.low,
        grey=units == "bernoulli" and data.levels != 2,
        sweeps=sweeps,
        optimizer=sgd(0.1, decay=1e-4, schedule=linear())
        if units == "bernoulli"
        else adam(1e-2, clip=5.0, schedule=linear()),
    )
