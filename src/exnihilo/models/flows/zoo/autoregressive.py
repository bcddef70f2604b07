"""Autoregressive flows: each entry is changed given those before it; one of the two directions goes entry by entry."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, recipe
from exnihilo.models.autoregressive.heads import class_condition
from exnihilo.models.flows.autoregressive import autoregressive_steps
from exnihilo.models.flows.family import Flow
from exnihilo.models.flows.starts import CLASS, flow_of
from exnihilo.probability.bijections import Autoregressive, Inverse
from exnihilo.probability.elements import Affine


@recipe("Masked Autoregressive Flow for Density Estimation", "Papamakarios et al., 2017", arxiv="1705.07057")
def maf(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 1, 64] = 5,
    conditional: bool = False,
) -> Flow:
    """Each entry is scaled and shifted by functions of those before it; the order turns round after every map.

    u_i = x_i exp(s_i(x_<i)) + t_i(x_<i), made by masked networks (MADE). Densities take one pass, samples as many as
    there are entries. conditional: the networks are told the class. Unlike the paper's: actnorm instead of batch
    normalisation, so an example's density is its own.
    """
    condition = class_condition("maf", data, conditional, CLASS)
    vector = CLASS if condition else 0
    maps = autoregressive_steps(data.shape, Affine, width=width, depth=depth, vector=vector)
    return flow_of(data, maps, condition=condition)


@recipe("Improved Variational Inference with Inverse Autoregressive Flow", "Kingma et al., 2016", arxiv="1606.04934")
def iaf(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 1, 64] = 3,
    conditional: bool = False,
) -> Flow:
    """The masked autoregressive flow the other way round: samples take one pass, densities one per entry.

    x_i = u_i exp(s_i(u_<i)) + t_i(u_<i). Caution: learning from data asks for densities, so every step costs as many
    passes as there are entries; choose it where samples must be fast, and for few entries. conditional: the networks
    are told the class.
    """
    condition = class_condition("iaf", data, conditional, CLASS)
    vector = CLASS if condition else 0
    maps = [
        Inverse(part) if isinstance(part, Autoregressive) else part
        for part in autoregressive_steps(data.shape, Affine, width=width, depth=depth, vector=vector)
    ]
    return flow_of(data, maps, condition=condition)
