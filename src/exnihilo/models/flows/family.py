"""Normalising flows: data made simple by an invertible map, with exact densities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from torch import Tensor

from exnihilo.core import Batch, Data, GenerativeModel, Noise, Stage, Terms
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.flows.bases import Base
from exnihilo.probability.bijections import Bijection, Chain

INITIAL = 4096  # examples from which maps take their starting values


class Flow(GenerativeModel):
    """log p(x) = log p_u(f(x)) + log|det df/dx|,   u = f(x).

    Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 5; trained by maximum likelihood on dequantised data. bijections:
    f from x [B, *shape] to u, in this order; base: p_u. `encode` is f, `decode` its inverse, so reconstruction is
    lossless. Caution: the density is of continuous x; on data with levels add the dequantisation's log q.
    """

    def __init__(
        self,
        bijections: Iterable[Bijection],
        base: Base,
        *,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.bijection, self.base = Chain(bijections), base
        self.optimizer, self.batch = optimizer, batch

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(u, log|det du/dx| [B])."""
        return self.bijection(x)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        u, log_det = self(x)
        return self.base.log_prob(u) + log_det

    def encode(self, x: Tensor) -> Tensor:
        return self(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.bijection.inverse(z)

    def draw_code(self, noise: Noise) -> Tensor:
        """[len(noise), *shape] u ~ p_u."""
        return self.base.draw(noise, 1.0)

    def draw(  # type: ignore[override]
        self,
        noise: Noise,
        *,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        text: Tensor | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        temperature: Annotated[float, 0.0, 2.0] = 1.0,
    ) -> Tensor:
        """f^-1(u), u ~ p_u; temperature scales u's standard deviation (below 1: nearer the mode, less diverse)."""
        return self.decode(self.base.draw(noise, temperature))

    def loss(self, batch: Batch) -> Terms:
        return {"nats": -self.log_prob(self.spec.dequantise(batch.x)[0]).mean()}

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.initialise)]

    def initialise(self, data: Data) -> None:
        """Let the maps take their starting values from data (means and scales)."""
        device = next(self.parameters()).device
        x = data.batch(0, min(len(data), INITIAL), 0).x.to(device)
        self.bijection.initialise(self.spec.dequantise(x)[0])
