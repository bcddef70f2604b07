"""The networks and the likelihood that suit the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

from exnihilo.core import DataSpec, OptionError
from exnihilo.nets.conv import ConvDecoder, ConvEncoder
from exnihilo.nets.joined import Joined
from exnihilo.nets.mlp import MLP
from exnihilo.probability.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    Mixed,
)

LikelihoodName = Literal["auto", "gaussian", "bernoulli", "logistic", "mixture_logistic", "categorical"]

SMALL = 1024  # pictures of up to so many numbers are vectors: fully connected networks learn them faster and better


def convolutional(data: DataSpec) -> bool:
    """Whether the networks for these data are convolutional."""
    return data.kind == "image" and data.size > SMALL


def channels(width: int) -> int:
    """Channels at full resolution of a convolutional network that costs about as much as layers of this width."""
    return max(4, width // 12)


def encoder_for(
    data: DataSpec, shape_out: Sequence[int], width: int, depth: int, *, vector: int = 0, dropout: float = 0.0
) -> nn.Module:
    """A network (B, *data.shape) -> (B, *shape_out); with `vector`, one that takes (B, vector) beside."""
    conv = convolutional(data)
    joined = (data.shape[0] + vector, *data.shape[1:]) if conv else (data.size + vector,)
    shape = joined if vector else data.shape
    network: nn.Module = (
        ConvEncoder(shape, shape_out, channels(width), dropout=dropout)
        if conv
        else MLP(shape, shape_out, width, depth, dropout=dropout)
    )
    return Joined(network, flat=not conv) if vector else network


def decoder_for(
    data: DataSpec, shape_in: Sequence[int], shape_out: Sequence[int], width: int, depth: int, *, vector: int = 0
) -> nn.Module:
    """A network (B, *shape_in) -> (B, *shape_out), with the data's sides; with `vector`, taking (B, vector) beside."""
    shape = (math.prod(shape_in) + vector,) if vector else shape_in
    network = (
        ConvDecoder(shape, shape_out, channels(width)) if convolutional(data) else MLP(shape, shape_out, width, depth)
    )
    return Joined(network, flat=True) if vector else network


def likelihood_for(data: DataSpec, name: LikelihoodName = "auto") -> Likelihood:
    """The head by name; `auto` takes the one whose support is the data's.

    Two levels: Bernoulli; more: a discretised logistic; continuous: a Gaussian; tables: a head per column.
    """
    if data.kind == "table":
        if name != "auto":
            raise OptionError(
                f"likelihood={name} is not for tables, whose columns have a head each. Use likelihood=auto."
            )
        return Mixed(data.columns)
    if name == "auto":
        name = "gaussian" if not data.levels else "bernoulli" if data.levels == 2 else "logistic"
    if name == "gaussian":
        return Gaussian()
    if not data.levels:
        raise OptionError(
            f"likelihood={name} gives probabilities to levels, but these data are continuous. Use likelihood=gaussian."
        )
    if name == "bernoulli":
        if data.levels != 2:
            raise OptionError(
                f"likelihood=bernoulli is for data of two values; these have {data.levels} levels."
                " Use likelihood=logistic, mixture_logistic or categorical."
            )
        return Bernoulli(data.low)
    if name == "logistic":
        return DiscretisedLogistic(data.shape, data.levels, data.low)
    if name == "mixture_logistic":
        return DiscretisedLogisticMixture(data.levels, data.low)
    return Categorical(data.levels, data.low)
