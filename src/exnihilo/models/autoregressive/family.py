"""Autoregressive models: one entry after the other, each given those before it."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Batch, Conditions, GenerativeModel, Noise, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.nets.layers import Condition
from exnihilo.nets.masked import CausalNetwork, at
from exnihilo.probability.likelihoods import Likelihood

PARTICLES = 16  # completions among which `impute` chooses


class Autoregressive(GenerativeModel):
    """log p(x) = sum_i log p(x_i | x_1, ..., x_{i-1}).

    network: parameters for every entry from earlier entries, all in one pass; likelihood: what they say about an entry.
    Exact densities (of levels: probabilities); sampling takes one step an entry. condition: makes a vector of the class
    for the network; then p(x) without a class is the mixture over the classes by their shares, as `sample` draws it.
    """

    def __init__(
        self,
        network: CausalNetwork,
        likelihood: Likelihood,
        *,
        condition: Condition | None = None,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.network, self.likelihood, self.condition = network, likelihood, condition
        self.mass, self.labelled = likelihood.mass, condition is not None
        self.optimizer, self.batch = optimizer, batch

    def _vector(self, n: int, label: Tensor | None) -> Tensor | None:
        return None if self.condition is None else self.condition(n, label, None)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        if self.labelled and label is None:
            return self.joint(x).logsumexp(dim=1)
        return self._given(x, self._vector(len(x), label))

    def _given(self, x: Tensor, vector: Tensor | None) -> Tensor:
        """[B] log p(x | vector)."""
        parameters = self.network(x, vector)
        return self.likelihood.log_prob(parameters.to(x.dtype), x)  # in half precision hundreds of nats are rounded

    def head(self, place: tuple[int, ...]) -> Likelihood:
        """What the parameters for a place say about what stands there."""
        return self.likelihood

    def loss(self, batch: Batch) -> Terms:
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        unknown = torch.full((len(x),), -1, device=x.device)
        label = batch.label if batch.label is not None else unknown
        return {"nats": -self.log_prob(x, label=label).mean()}

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """x_i ~ p(x_i | x_1, ..., x_{i-1}) in the network's order."""
        return self._fill(noise, self._vector(len(noise), asked.label))[0]

    def _fill(
        self, noise: Noise, vector: Tensor | None, x: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw what mask does not hold; (x, [B] the log-probability of what it holds, each given what is before it)."""
        return self._fill_along(self.network, noise, vector, x, mask)

    def _fill_along(
        self, network: CausalNetwork, noise: Noise, vector: Tensor | None, x: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        walk, n = network.walk(len(noise), vector), len(noise)
        log_weight = walk.x.new_zeros(n)
        for place in network.order():
            head, parameters, here = self.head(place), walk.predict(place), walk.x[at(place)]  # [n] or [n, entries]
            value = head.draw(parameters, noise).view_as(here)
            if x is not None and mask is not None:
                seen, known = x[at(place)], mask[at(place)]
                log_weight = log_weight + head.log_prob(parameters, seen.reshape(n, -1), known.reshape(n, -1))
                value = torch.where(known, seen, value)
            walk.write(place, value)
        return walk.x, log_weight

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """One of some completions, chosen in proportion to the probability of the known entries that come after them.

        Sampling-importance-resampling (Rubin, 1987). Exact where what is missing comes last in the network's order, for
        then the completions weigh the same; else the better the more the known entries before say.
        """
        check_mask(x, mask)
        n = len(x)
        noise = Noise(seed, n * PARTICLES, device=x.device)
        vector = self._any_class(noise)
        copies, known = x.repeat_interleave(PARTICLES, dim=0), mask.repeat_interleave(PARTICLES, dim=0)
        filled, log_weight = self._fill(noise, vector, copies, known)
        gumbel = -torch.log(-torch.log(noise.uniform(dtype=torch.float64) + 2.0**-26))
        chosen = (log_weight.double() + gumbel).view(n, PARTICLES).argmax(dim=1)
        return filled.view(n, PARTICLES, *x.shape[1:])[torch.arange(n, device=x.device), chosen]

    def _any_class(self, noise: Noise) -> Tensor | None:
        """The vectors of classes drawn by their shares."""
        if not self.labelled:
            return None
        shares = self.class_log_shares(next(self.parameters()))
        return self._vector(len(noise), noise.categorical(shares.expand(len(noise), -1)))


class AutoregressiveLevels(Autoregressive):
    """The same over levels, whatever the data: `log_prob` is a log-probability, and there is no score."""

    mass = True
