"""Couplings: half of the entries are changed, given the other half; both directions cost one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from exnihilo.core import DataSpec, adamw, cosine, recipe
from exnihilo.models.flows.bases import StandardNormal
from exnihilo.models.flows.couplings import flat_couplings, image_couplings
from exnihilo.models.flows.family import Flow
from exnihilo.probability.bijections import Affine, Bijection, Logit, Standardise

FLAT_SIDE = 12  # images up to this side are taken as vectors: convolutions see no more there, and cost more
EDGE = 0.02  # how far from 0 and 1 the logit of a picture's range stays; the paper's 0.05 costs some bits on 17 levels


@recipe("Density Estimation Using Real NVP", "Dinh et al., 2017", arxiv="1605.08803")
def realnvp(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    depth: Annotated[int, 2, 64] = 12,
    dropout: Annotated[float, 0.0, 0.9] | None = None,
) -> Flow:
    """Affine couplings: scale and shift half of the entries by functions of the other half.

    `depth` counts the couplings of vectors, tables and small images; larger images take the paper's scales, with
    convolutions of a quarter of `width`. dropout: by default 0.2 for pictures, which these networks soon know by heart,
    and none for what has few dimensions, whose sharp edges it would blur.
    """
    if dropout is None:
        dropout = 0.2 if data.kind == "image" else 0.0
    couplings: Sequence[Bijection]
    if data.kind == "image" and max(data.shape[1:]) > FLAT_SIDE:
        couplings = [image_couplings(data.shape, Affine, width=max(8, width // 4), dropout=dropout)]
    else:
        couplings = list(flat_couplings(data.shape, Affine, width=width, depth=depth, dropout=dropout))
    half_step = data.step / 2
    stretch = [Logit(data.low - half_step, 1 + half_step, EDGE)] if data.kind == "image" else []
    return Flow(
        [*stretch, Standardise(data.shape), *couplings],
        StandardNormal((data.size,)),
        optimizer=adamw(1e-3, decay=1e-2, clip=50.0, schedule=cosine()),
    )
