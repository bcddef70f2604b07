"""Normalising flows: data made simple by an invertible map, with exact densities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, cast

import torch
from torch import Tensor

from exnihilo.core import (
    NOTHING,
    Batch,
    Conditions,
    Data,
    DataError,
    DataSpec,
    GenerativeModel,
    Noise,
    Stage,
    Terms,
    listing,
)
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.flows.bases import Base
from exnihilo.probability.bijections import Bijection, Chain
from exnihilo.probability.dequantisation import VariationalDequantisation

INITIAL = 4096  # examples from which maps take their starting values,
NUMBERS = 2**20  # but of large examples only about so many numbers, since all maps are passed at once


class Flow(GenerativeModel):
    """log p(x) = log p_u(f(x)) + log|det df/dx|,   u = f(x).

    Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 5; trained by maximum likelihood on dequantised data. bijections:
    f from x [B, *shape] to u, in this order; base: p_u. `encode` is f, `decode` its inverse, so reconstruction is
    lossless. Caution: the density is of continuous x; on data with levels add the dequantisation's log q.

    dequantisation: learned noise for data whose every entry has levels. The model is then one of levels, and knows a
    lower bound on their probability instead of a density.
    """

    def __init__(
        self,
        bijections: Iterable[Bijection],
        base: Base,
        *,
        dequantisation: VariationalDequantisation | None = None,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.bijection, self.base, self.dequantisation = Chain(bijections), base, dequantisation
        self.optimizer, self.batch = optimizer, batch
        maps = [part for part in self.modules() if isinstance(part, Bijection)]
        self.compilable = all(part.compilable for part in maps)
        if dequantisation is not None:
            self.mass, self.withdrawn = True, frozenset({"log_prob", "energy", "score"})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(u, log|det du/dx| [B])."""
        return cast(tuple[Tensor, Tensor], self.bijection(x))

    def log_density(self, x: Tensor) -> Tensor:
        """[B] log p(x) in nats of continuous x, whatever becomes of levels."""
        u, log_det = self(x)
        return self.base.log_prob(u) + log_det

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        if self.dequantisation is not None:
            raise self._lacks("log_prob")
        return self.log_density(x)

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] the exact density or, with learned noise, log 1/k sum_i p(x + u_i) / q(u_i | x): a bound for levels x.

        Ho et al., 2019, arXiv:1902.00275, Eq. 6 and 16. Of the bound no gradient passes.
        """
        if self.dequantisation is None:
            return self.log_prob(x)
        noise = Noise(seed, len(x), device=x.device)
        with torch.no_grad():
            each = [self._spread(*self.dequantisation(x, noise)) for _ in range(k)]
        return torch.stack(each).logsumexp(dim=0) - math.log(k)

    def _spread(self, x: Tensor, log_q: Tensor) -> Tensor:
        """[B] log p(x) - log q."""
        return self.log_density(x) - log_q

    def encode(self, x: Tensor) -> Tensor:
        return self(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.bijection.inverse(z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape] u ~ p_u."""
        return self.base.draw(noise, 1.0)

    def draw(
        self, noise: Noise, asked: Conditions = NOTHING, *, temperature: Annotated[float, 0.0, 2.0] = 1.0
    ) -> Tensor:
        """f^-1(u), u ~ p_u; temperature scales u's standard deviation (below 1: nearer the mode, less diverse)."""
        return self.decode(self.base.draw(noise, temperature))

    def loss(self, batch: Batch) -> Terms:
        if self.dequantisation is not None:
            return {"nats": -self._spread(*self.dequantisation(batch.x)).mean()}
        return {"nats": -self.log_density(self.spec.dequantise(batch.x)[0]).mean()}

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.initialise)]

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """Let the maps take their starting values from data (means and scales).

        A column that never changes is a DataError, for its density would grow without end.
        """
        device = next(self.parameters()).device
        most = min(len(data), INITIAL, max(256, NUMBERS // self.spec.size))
        x = self.spec.dequantise(data.batch(0, most, 0).x.to(device))[0]
        if (x == x[0]).all(dim=0).any() and len(x) > 1:
            everything = self.spec.dequantise(data.first().x)[0]
            refuse_constants(self.spec, (everything == everything[0]).all(dim=0))
        self.bijection.initialise(x)


def refuse_constants(spec: DataSpec, constant: Tensor) -> None:
    """A DataError that names the columns whose entries are constant, booleans [*shape]."""
    places = constant.flatten().nonzero()[:, 0].tolist()
    if not places:
        return
    names = {
        column.name
        for column in spec.columns
        for place in places
        if column.start <= place < column.start + column.width
    } or {f"entry {place}" for place in places}
    how = f": -d drop={','.join(sorted(names))}" if spec.kind == "table" else ""
    raise DataError(
        f"These columns never change: {listing(sorted(names))}. The density of a flow has no bound there."
        f" Leave them out{how}."
    )
