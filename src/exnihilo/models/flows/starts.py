"""What comes before the first learned map, and how flows learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from exnihilo.core import DataSpec, adamw, cosine
from exnihilo.models.flows.bases import Base, StandardNormal
from exnihilo.models.flows.family import Flow
from exnihilo.nets.layers import Condition
from exnihilo.probability.bijections import Bijection, Logit, Standardise
from exnihilo.probability.dequantisation import VariationalDequantisation

FLAT_SIDE = 12  # images up to this side are taken as vectors: convolutions see no more there, and cost more
MANY = 2000  # rows, from which on batches are large
CLASS = 16  # length of the vector that stands for a class
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


def flow_of(
    data: DataSpec,
    maps: Iterable[Bijection],
    *,
    base: Callable[[Sequence[int]], Base] = StandardNormal,
    condition: Condition | None = None,
    dequantisation: VariationalDequantisation | None = None,
    rate: float = 1e-3,
) -> Flow:
    """What stretches the data, then the maps; learning with a rate that falls and a bound on the gradient.

    The bound is for the rare example far out. Many rows are taken 256 at a time at twice the rate: of so small networks
    a batch of 64 costs almost as much.
    """
    many = data.kind != "image" and data.examples >= MANY
    optimizer = adamw(2 * rate if many else rate, decay=1e-2, clip=50.0, schedule=cosine())
    return Flow(
        [*stretched(data), *maps],
        base((data.size,)),
        condition=condition,
        dequantisation=dequantisation,
        optimizer=optimizer,
        batch=256 if many else 64,
    )
