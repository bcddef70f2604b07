"""Couplings: half of the entries are changed, given the other half; both directions cost one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from exnihilo.core import DataSpec, recipe
from exnihilo.models.autoregressive.heads import class_condition
from exnihilo.models.flows.autoregressive import autoregressive_steps
from exnihilo.models.flows.bases import StandardLogistic
from exnihilo.models.flows.couplings import Convolutional, flat_couplings, glow_steps, image_couplings, noise_couplings
from exnihilo.models.flows.family import Flow
from exnihilo.models.flows.starts import CLASS, flow_of, is_large, usual_dropout
from exnihilo.probability.bijections import Bijection, Elementwise
from exnihilo.probability.dequantisation import VariationalDequantisation
from exnihilo.probability.elements import Additive, Affine, ElementMap, InTurn, LogisticMixture, Shrink
from exnihilo.probability.mixing import ActNorm, InvertibleLinear
from exnihilo.probability.splines import RationalQuadratic

WIDE = 32  # entries from which on the splines of all of them cost more than their last pieces tell


@recipe("NICE: Non-linear Independent Components Estimation", "Dinh et al., 2015", arxiv="1410.8516")
def nice(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 256,
    depth: Annotated[int, 2, 64] = 4,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
    conditional: bool = False,
) -> Flow:
    """Additive couplings: shift half of the entries by a function of the other half, then scale each entry once.

    u = exp(s) f(x) with det df/dx = 1, and a logistic base. Pictures of any size are vectors here, as in the paper.
    Unlike the paper's: pictures enter by their logit, halves are random rather than odd and even, networks have two
    hidden layers rather than five. conditional: the networks are told the class. Caution: volumes cannot change from
    place to place, so `realnvp` fits better.
    """
    condition, dropout = class_condition("nice", data, conditional, CLASS), usual_dropout(data, dropout)
    vector = CLASS if condition else 0
    couplings = flat_couplings(data.shape, Additive, width=width, depth=depth, dropout=dropout, vector=vector)
    return flow_of(data, [*couplings, ActNorm(data.size)], base=StandardLogistic, condition=condition)


@recipe("Density Estimation Using Real NVP", "Dinh et al., 2017", arxiv="1605.08803")
def realnvp(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 2, 64] = 12,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
    conditional: bool = False,
) -> Flow:
    """Affine couplings: scale and shift half of the entries by functions of the other half.

    `depth` counts the couplings of vectors, tables and small images; larger images take the paper's scales, with
    convolutions of a quarter of `width`. dropout: by default 0.2 for pictures, which these networks soon know by heart,
    and none for what has few dimensions, whose sharp edges it would blur. conditional: the networks are told the class,
    and `classify` follows by Bayes' rule.
    """
    condition, dropout = class_condition("realnvp", data, conditional, CLASS), usual_dropout(data, dropout)
    vector = CLASS if condition else 0
    couplings: Iterable[Bijection]
    if is_large(data):
        couplings = [image_couplings(data.shape, Convolutional(Affine, max(8, width // 4), dropout, vector))]
    else:
        couplings = flat_couplings(data.shape, Affine, width=width, depth=depth, dropout=dropout, vector=vector)
    return flow_of(data, couplings, condition=condition)


def mixed(size: int) -> Iterator[Bijection]:
    """Glow's step without its coupling."""
    yield ActNorm(size)
    yield InvertibleLinear(size)


@recipe("Glow: Generative Flow with Invertible 1x1 Convolutions", "Kingma & Dhariwal, 2018", arxiv="1807.03039")
def glow(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 1, 64] = 8,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
    conditional: bool = False,
) -> Flow:
    """Actnorm, an invertible linear map of the channels and an affine coupling, again and again over several scales.

    `depth` counts the steps of every scale; larger images take convolutions of a quarter of `width`, small ones and
    all else are vectors whose entries are the channels. Unlike the paper's: the base is N(0, I) for what leaves early
    as well, pictures enter by their logit, and there are 8 steps, not 32. conditional: the networks are told the class.
    Caution: a low `temperature` makes samples smoother, not the model better.
    """
    condition, dropout = class_condition("glow", data, conditional, CLASS), usual_dropout(data, dropout)
    vector = CLASS if condition else 0
    steps: Iterable[Bijection]
    if is_large(data):
        steps = [glow_steps(data.shape, Convolutional(Shrink, max(8, width // 4), dropout, vector), depth=depth)]
    else:
        sizes = {"width": width, "depth": depth, "vector": vector}
        steps = flat_couplings(data.shape, Shrink, **sizes, dropout=dropout, between=mixed)
    return flow_of(data, [*steps, ActNorm(data.size)], condition=condition)


@recipe("Neural Spline Flows", "Durkan et al., 2019", arxiv="1906.04032")
def nsf(
    data: DataSpec,
    *,
    transform: Literal["coupling", "autoregressive"] | None = None,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 1, 64] | None = None,
    bins: Annotated[int, 2, 64] | None = None,
    bound: Annotated[float, 1.0, 20.0] = 4.0,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
    conditional: bool = False,
) -> Flow:
    """Monotone rational-quadratic splines of each entry, whose knots are functions of the others.

    A linear map stands between. coupling: each entry has a spline of its own as well, and both directions take one
    pass; larger images take Glow's scales, `depth` steps each, with convolutions of a quarter of `width`.
    autoregressive, the default of vectors and tables: the better fit, but samples take one pass per entry. depth: by
    default 6 couplings or 3 autoregressive maps. `bins` pieces on [-bound, bound], straight beyond; by default 8, or 4
    where autoregressive maps have many entries (63 of a patch: in a minute 1.5 nats better). dropout: by default 0.2
    for pictures, none else. conditional: the networks are told the class. Unlike the paper's: pictures
    enter by their logit, there are fewer steps, of plain rather than of residual networks, and autoregressive maps
    scale and shift an entry before they bend it, so that the box is where the entry is likely to be.
    """
    condition, dropout = class_condition("nsf", data, conditional, CLASS), usual_dropout(data, dropout)
    entry_by_entry = transform == "autoregressive" or (transform is None and data.kind in ("vector", "table"))
    depth, bins = depth or (3 if entry_by_entry else 6), bins or (4 if entry_by_entry and data.size > WIDE else 8)
    sizes = {"width": width, "depth": depth, "vector": CLASS if condition else 0}

    def spline() -> ElementMap:
        return RationalQuadratic(bins, bound)

    def moved_spline() -> ElementMap:
        return InTurn(Affine(), spline())

    def linear(size: int) -> Iterator[Bijection]:
        yield InvertibleLinear(size, rotation=False)  # data in a box stay in it, where splines bend

    def between(size: int) -> Iterator[Bijection]:
        yield from linear(size)
        yield Elementwise((size,), spline())

    steps: Iterable[Bijection]
    if entry_by_entry:
        steps = autoregressive_steps(data.shape, moved_spline, **sizes, between=linear)
    elif is_large(data):
        couple = Convolutional(spline, max(8, width // 4), dropout, sizes["vector"])
        steps = [glow_steps(data.shape, couple, depth=depth)]
    else:
        steps = flat_couplings(data.shape, spline, **sizes, dropout=dropout, between=between)
    return flow_of(data, steps, condition=condition, rate=2.5e-3 if entry_by_entry else 1e-3)


@recipe(
    "Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design",
    "Ho et al., 2019",
    arxiv="1902.00275",
)
def flow_pp(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 2, 64] = 8,
    components: Annotated[int, 1, 64] = 4,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
) -> Flow:
    """Couplings by distribution functions of logistic mixtures; levels are made continuous by learned noise.

    Where every entry has levels (pictures) a second flow makes the noise, and the model knows a lower bound on their
    probability instead of a density. `depth` counts the couplings of vectors, tables and small images; larger images
    take RealNVP's scales, with convolutions of a quarter of `width`. Unlike the paper's: no attention. Caution:
    samples need a bisection in every coupling.
    """
    dropout, narrow = usual_dropout(data, dropout), max(8, width // 4)

    def mixture() -> ElementMap:
        return LogisticMixture(components)

    couplings: Iterable[Bijection]
    if is_large(data):
        couplings = [image_couplings(data.shape, Convolutional(mixture, narrow, dropout))]
    else:
        couplings = flat_couplings(
            data.shape, mixture, width=width, depth=depth, dropout=dropout, between=lambda size: [ActNorm(size)]
        )
    noise = (
        VariationalDequantisation(noise_couplings(data.shape, width=narrow, depth=4), data.step)
        if data.discrete
        else None
    )
    return flow_of(data, [*couplings, ActNorm(data.size)], dequantisation=noise)
