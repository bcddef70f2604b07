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
from exnihilo.nets.layers import Condition
from exnihilo.probability.bijections import Bijection, Chain
from exnihilo.probability.dequantisation import VariationalDequantisation

UNKNOWN = 0.1  # share of a labelled model's training without its label
INITIAL = 4096  # examples from which maps take their starting values,
NUMBERS = 2**20  # but of large examples only about so many numbers, since all maps are passed at once


class Flow(GenerativeModel):
    """log p(x) = log p_u(f(x)) + log|det df/dx|,   u = f(x).

    Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 5; trained by maximum likelihood on dequantised data. bijections:
    f from x [B, *shape] to u, in this order; base: p_u. `encode` is f, `decode` its inverse, so reconstruction is
    lossless. Caution: the density is of continuous x; on data with levels add the dequantisation's log q.

    condition: makes a vector of the class for the maps. p(x) without a class is then the mixture over the classes by
    their shares, as `sample` draws it. One label in ten is hidden in training, so that examples have a code without
    their class as well.
    dequantisation: learned noise for data whose every entry has levels. The model is then one of levels, and knows a
    lower bound on their probability instead of a density.
    """

    def __init__(
        self,
        bijections: Iterable[Bijection],
        base: Base,
        *,
        condition: Condition | None = None,
        dequantisation: VariationalDequantisation | None = None,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.bijection, self.base, self.dequantisation = Chain(bijections), base, dequantisation
        self.condition, self.labelled = condition, condition is not None
        self.optimizer, self.batch = optimizer, batch
        maps = [part for part in self.modules() if isinstance(part, Bijection)]
        self.compilable = all(part.compilable for part in maps)
        if dequantisation is not None:
            self.mass, self.withdrawn = True, frozenset({"log_prob", "energy", "score"})

    def _vector(self, n: int, label: Tensor | None) -> Tensor | None:
        return None if self.condition is None else self.condition(n, label, None)

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(u, log|det du/dx| [B])."""
        return cast(tuple[Tensor, Tensor], self.bijection(x, self._vector(len(x), label)))

    def log_density(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """[B] log p(x) in nats of continuous x, whatever becomes of levels; of a labelled model log p(x | label)."""
        u, log_det = self(x, label)
        return self.base.log_prob(u) + log_det

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        if self.dequantisation is not None:
            raise self._lacks("log_prob")
        if self.labelled and label is None:
            return self.joint(x).logsumexp(dim=1)
        return self.log_density(x, label)

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] the exact density or, with learned noise, log 1/k sum_i p(x + u_i) / q(u_i | x): a bound for levels x.

        Ho et al., 2019, arXiv:1902.00275, Eq. 6 and 16. Of the bound no gradient passes.
        """
        if self.dequantisation is None:
            return self.log_prob(x, label=label)
        noise = Noise(seed, len(x), device=x.device)
        with torch.no_grad():
            each = [self._spread(*self.dequantisation(x, noise)) for _ in range(k)]
        return torch.stack(each).logsumexp(dim=0) - math.log(k)

    def _spread(self, x: Tensor, log_q: Tensor) -> Tensor:
        """[B] log p(x) - log q."""
        return self.log_density(x) - log_q

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self(x, label)[0]

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        return self.bijection.inverse(z, self._vector(len(z), label))

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape] u ~ p_u."""
        return self.base.draw(noise, 1.0)

    def draw(
        self, noise: Noise, asked: Conditions = NOTHING, *, temperature: Annotated[float, 0.0, 2.0] = 1.0
    ) -> Tensor:
        """f^-1(u), u ~ p_u; temperature scales u's standard deviation (below 1: nearer the mode, less diverse)."""
        return self.decode(self.base.draw(noise, temperature), label=asked.label)

    def loss(self, batch: Batch) -> Terms:
        if self.dequantisation is not None:
            return {"nats": -self._spread(*self.dequantisation(batch.x)).mean()}
        label = batch.label if self.labelled else None
        if label is not None:
            label = torch.where(torch.rand(len(label), device=label.device) < UNKNOWN, -1, label)
        return {"nats": -self.log_density(self.spec.dequantise(batch.x)[0], label).mean()}

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.initialise)]

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """Let the maps take their starting values from data (means and scales).

        A column that never changes is a DataError, for its density would grow without end.
        """
        device = next(self.parameters()).device
        most = min(len(data), INITIAL, max(256, NUMBERS // self.spec.size))
        first = data.batch(0, most, 0).to(device)
        x = self.spec.dequantise(first.x)[0]
        if (x == x[0]).all(dim=0).any() and len(x) > 1:
            everything = self.spec.dequantise(data.first().x)[0]
            refuse_constants(self.spec, (everything == everything[0]).all(dim=0))
        self.bijection.initialise(x, self._vector(len(x), first.label if self.labelled else None))


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
