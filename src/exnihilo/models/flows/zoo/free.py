"""Maps of all entries at once, whose inverse or determinant has no formula and is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from exnihilo.core import DataSpec, recipe
from exnihilo.models.flows.couplings import scales_of
from exnihilo.models.flows.family import Flow
from exnihilo.models.flows.starts import flow_of, is_large
from exnihilo.nets.fields import Field
from exnihilo.nets.lipschitz import Contraction
from exnihilo.probability.bijections import Bijection, Flat, Inverse, Squeeze
from exnihilo.probability.continuous import Continuous, Solver
from exnihilo.probability.mixing import ActNorm, Whitening
from exnihilo.probability.planar import PlanarMap, RadialMap
from exnihilo.probability.residual import Residual


@recipe("Variational Inference with Normalizing Flows", "Rezende & Mohamed, 2015", arxiv="1505.05770")
def planar_flow(
    data: DataSpec,
    *,
    kind: Literal["planar", "radial"] = "planar",
    depth: Annotated[int, 1, 256] = 16,
) -> Flow:
    """Noise is bent `depth` times, each along one direction (planar) or around one point (radial).

    z' = z + u tanh(w . z + b), or z' = z + beta (z - z0) / (alpha + |z - z0|), from noise to data. The paper knows the
    density of its own samples only; here each map is inverted by a root of one number, so that it is exact for data.
    Caution: a map has about as many parameters as there are dimensions, so beyond a few it fits little.
    """
    one = PlanarMap if kind == "planar" else RadialMap
    maps = [Inverse(one(data.size)) for _ in range(depth)]
    return flow_of(data, [Flat(data.shape), *maps], rate=3e-3)


def residual_blocks(shape: Sequence[int], width: int, blocks: int) -> Iterator[Bijection]:
    """`blocks` times actnorm and x + g(x)."""
    for _ in range(blocks):
        yield ActNorm(shape[0])
        yield Residual(Contraction(shape, width))


@recipe("Residual Flows for Invertible Generative Modeling", "Chen et al., 2019", arxiv="1906.02735")
def residual_flow(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 128,
    blocks: Annotated[int, 1, 64] = 8,
) -> Flow:
    """Residual networks x + g(x) whose layers are held so tight that they are invertible.

    log det(I + J) = sum_k (-1)^(k+1) tr J^k / k: in training an unbiased estimate of random length; densities are
    exact for up to 128 entries and estimates of 20 terms beyond. Larger images take `blocks` blocks of convolutions,
    a quarter of `width`, at every scale, and nothing leaves early. Caution: samples iterate every block to a fixed
    point.
    """
    parts: list[Bijection] = []
    if is_large(data):
        for scale in scales_of(data.shape, leaving=False):
            parts += [Squeeze(scale.rows, scale.columns)] if scale.rows * scale.columns > 1 else []
            shape = (scale.channels, scale.height, scale.breadth)
            parts += residual_blocks(shape, max(8, width // 4), blocks)
        parts += [Flat(shape)]
    else:
        parts += [Flat(data.shape), *residual_blocks((data.size,), width, blocks)]
    return flow_of(data, parts)


@recipe(
    "FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
    "Grathwohl et al., 2019",
    arxiv="1810.01367",
)
def ffjord(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 64,
    depth: Annotated[int, 1, 16] = 2,
    steps: Annotated[int, 1, 1000] = 4,
    solver: Solver = "rk4",
) -> Flow:
    """Data flow into noise along a learned vector field; the log-density changes by its divergence.

    dz/dt = f(z, t), d log p / dt = -tr df/dz. In training the trace is estimated with one random vector per path;
    densities take it exactly for up to 128 entries and estimate it beyond. solver: `rk4` in `steps` equal steps, or the
    paper's adaptive `dopri5`, which needs the extra `ode`. Pictures are vectors. Unlike the paper's: a linear map comes
    first, which starts by making the entries uncorrelated, so that the field has only to bend. Caution: with too few
    steps inverse and density drift apart from the equation; compare `reconstruct`.
    """
    field = Field(data.size, width, depth)
    maps = [Flat(data.shape), Whitening(data.size), Continuous(field, steps=steps, solver=solver)]
    return flow_of(data, maps, rate=2.5e-3)
