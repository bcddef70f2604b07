"""What comes before the first learned map, and how flows learn."""

from __future__ import annotations

from collections.abc import Iterator

from exnihilo.core import DataSpec, adamw, cosine
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.probability.bijections import Bijection, Logit, Standardise

FLAT_SIDE = 12  # images up to this side are taken as vectors: convolutions see no more there, and cost more
EDGE = 0.02  # how far from 0 and 1 the logit of a picture's range stays; the paper's 0.05 costs some bits on 17 levels


def is_large(data: DataSpec) -> bool:
    """Whether data are pictures whose sides are worth convolutions."""
    return data.kind == "image" and max(data.shape[1:]) > FLAT_SIDE


def stretched(data: DataSpec) -> Iterator[Bijection]:
    """The logit of a picture's range, then every entry standardised."""
    half_step = data.step / 2
    if data.kind == "image":
        yield Logit(data.low - half_step, 1 + half_step, EDGE)
    yield Standardise(data.shape)


def usual_dropout(data: DataSpec, dropout: float | None) -> float:
    """By default 0.2 for pictures, which small networks soon know by heart, and none for what has few dimensions."""
    if dropout is None:
        return 0.2 if data.kind == "image" else 0.0
    return dropout


def falling_adam(rate: float = 1e-3) -> OptimizerFactory:
    """Adam with decoupled decay, a bound on the gradient for the rare example far out, and a rate that falls."""
    return adamw(rate, decay=1e-2, clip=50.0, schedule=cosine())
