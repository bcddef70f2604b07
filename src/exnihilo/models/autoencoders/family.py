"""Variational autoencoders: a distribution over the data through a code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Stage, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import (
    CapacityELBO,
    Estimator,
    ImportanceWeighted,
    WeightedELBO,
    elbo,
    importance_weights,
)
from exnihilo.models.autoencoders.gaps import said
from exnihilo.models.autoencoders.imputation import SWEEPS, complete
from exnihilo.models.autoencoders.priors import MixturePrior, Posterior, PosteriorFamily, Prior
from exnihilo.models.classical.family import training_examples
from exnihilo.nets.layers import Condition
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.likelihoods import Likelihood

UNKNOWN = 0.1  # share of a conditional model's training without its label or an attribute: it learns to do without


def told(network: nn.Module, x: Tensor, vector: Tensor | None) -> Tensor:
    """The network's answer to x, and to what it is told beside, if it is told anything (see `nets.joined`)."""
    return network(x) if vector is None else network(x, vector)


class VAE(GenerativeModel):
    """Maximise  E_q(z|x)[log p(x | z)] - KL(q(z | x) || p(z))  <=  log p(x).

    Kingma & Welling, 2014, arXiv:1312.6114, Eq. 3. The encoder makes the numbers that `family` turns into q(z | x),
    the decoder those that the likelihood turns into p(x | z). With an `aggregate`, a second stage without players
    fits it to the codes of the training data, and it takes the prior's place in samples and bounds. With a
    `condition` everything is given the class and attributes y (Sohn et al., 2015): both networks take its vector beside
    (`nets.joined`), and the prior may be p(z | y). Densities are of what the likelihood covers: levels where `mass`,
    else dequantised x (of a table, a row spread over its steps).
    """

    sweeps: int = SWEEPS  # of pseudo-Gibbs before an imputation; 0 where the encoder knows unobserved entries

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: Prior,
        *,
        family: PosteriorFamily = DiagonalNormal.of,
        estimator: Estimator = elbo,
        condition: Condition | None = None,
        aggregate: MixturePrior | None = None,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood, self.prior = encoder, decoder, likelihood, prior
        self.family, self.estimator = family, estimator
        self.condition, self.aggregate = condition, aggregate
        self.optimizer = optimizer
        self.mass = likelihood.mass
        self.labelled = condition is not None and condition.classes > 0
        self.takes = frozenset({"attributes"} if condition is not None else ())

    # -- the conditional distributions ---------------------------------------------------------------------------

    def vector(self, n: int, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor | None:
        """[n, V] the class and attributes as the networks are told them; None for a model without a condition."""
        return None if self.condition is None else self.condition(n, label, attributes)

    def posterior(self, x: Tensor, vector: Tensor | None = None, mask: Tensor | None = None) -> Posterior:
        """q(z | x). Entries that the mask does not hold are 0 to the encoder; of a dequantised table it reads the row.

        Zero is the mean of standardised data (Mattei & Frellsen, 2019, arXiv:1812.02633, section 3.2).
        """
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        seen = row if mask is None else torch.where(mask, row, 0.0)
        return self.family(told(self.encoder, seen, vector).to(x))

    def parameters_of(self, z: Tensor, vector: Tensor | None = None) -> Tensor:
        """The parameters of p(x | z), in the precision of z."""
        return told(self.decoder, z, vector).to(z)

    @property
    def code(self) -> Prior:
        """The distribution of codes that samples and bounds use."""
        return self.aggregate or self.prior

    def observed(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """Which entries the densities are of, None for all: a table's own gaps are values (see `gaps.said`)."""
        return said(self.spec, x, mask)

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        """The estimator's terms, in nats."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        vector = None
        if self.condition is not None:
            label, attributes = batch.label, batch.attributes
            if label is not None:
                label = torch.where(torch.rand(len(x), device=x.device) < UNKNOWN, -1, label)
            if attributes is not None:
                attributes = torch.where(torch.rand_like(attributes) < UNKNOWN, math.nan, attributes)
            vector = self.vector(len(x), label, attributes)
        return self.estimator(self, x, self.observed(batch.x, batch.mask), vector)

    def stages(self) -> Iterable[Stage]:
        """The networks learn; then the aggregate, if there is one, is fitted to their codes."""
        learn = Stage("train", self.players, enter=self._prepare)
        return [learn] if self.aggregate is None else [learn, Stage("prior", list, enter=self._fit_aggregate)]

    @torch.no_grad()
    def _prepare(self, data: Data) -> None:
        self.prior.prepare(data)

    @torch.no_grad()
    def _fit_aggregate(self, data: Data) -> None:
        assert self.aggregate is not None
        x = training_examples(data, limit=20_000)
        draws = max(1, 10_000 // len(x))
        self.aggregate.fit(self.codes(x, draws))

    @torch.no_grad()
    def codes(self, x: Tensor, draws: int = 1) -> Tensor:
        """[B * draws, *latent] draws from q(z | x), from torch's generator; the classes count as unknown."""
        device = next(self.parameters()).device
        parts = []
        for part in x.split(self.chunk):
            posterior = self.posterior(part.to(device), self.vector(len(part))).repeat(draws)
            parts.append(posterior.at(torch.randn_like(posterior.mean)))
        return torch.cat(parts)

    def validate(self, batch: Batch) -> Terms:
        """Minus the bound in nats, with as many draws as are trained with; of another objective, its final value."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        label = batch.label if self.labelled else None
        if isinstance(self.estimator, WeightedELBO | CapacityELBO):
            final = self.estimator.at_end()
            terms = final(self, x, self.observed(batch.x, batch.mask), self.vector(len(x), label, batch.attributes))
            return {"objective": terms["reconstruction"] + terms["divergence"]}
        k = self.estimator.k if isinstance(self.estimator, ImportanceWeighted) else 1
        return {"nats": -self.log_prob_bound(x, k=k, label=label, mask=batch.mask).mean()}

    # -- capabilities --------------------------------------------------------------------------------------------

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, latent] the mean of q(z | x)."""
        return self.posterior(x, self.vector(len(x), label)).mean

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] the mean of p(x | z); of a table's flags and categories the probabilities."""
        return self.likelihood.mean(self.parameters_of(z, self.vector(len(z), label)))

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), latent] z ~ p(z)."""
        return self.code.given(self.vector(len(noise), asked.label, asked.attributes)).draw(noise)

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, mode: Literal["draw", "mean"] = "draw") -> Tensor:
        """z ~ p(z), then x ~ p(x | z) or, with mode="mean", its smoother mean, which is no sample of the model."""
        z = self.draw_code(noise, asked)
        parameters = self.parameters_of(z, self.vector(len(z), asked.label, asked.attributes))
        return self.likelihood.mean(parameters) if mode == "mean" else self.likelihood.draw(parameters, noise)

    @torch.no_grad()
    def bound_terms(
        self, x: Tensor, *, label: Tensor | None = None, mask: Tensor | None = None, seed: int = 0
    ) -> Terms:
        """-log p(x | z) with z ~ q(z | x), and KL(q(z | x) || p(z)), in closed form where there is one; [B] nats.

        {} of a conditional model without the class, whose bound is a sum over classes.
        """
        if self.labelled and label is None:
            return {}
        vector, mask = self.vector(len(x), label), self.observed(x, mask)
        posterior, prior = self.posterior(x, vector, mask), self.code.given(vector)
        z, log_q = posterior.sample(Noise(seed, len(x), device=x.device).like(posterior.mean))
        kl = prior.kl(posterior)
        return {
            "reconstruction": -self.likelihood.log_prob(self.parameters_of(z, vector), x, mask),
            "divergence": log_q - prior.log_prob(z) if kl is None else kl.flatten(1).sum(dim=1),
        }

    @torch.no_grad()
    def log_prob_bound(
        self, x: Tensor, *, k: int = 1, label: Tensor | None = None, mask: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """[B] log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x) in nats, z_i ~ q(z | x): a lower bound on average.

        Burda et al., 2016, arXiv:1509.00519, Eq. 8; for k = 1 the evidence lower bound, its divergence in closed form
        where there is one. A conditional model bounds p(x | class); where the class is unknown (-1 or None), the
        mixture over classes by their shares. mask [B, *shape]: of the entries alone where it is True. Example i of a
        batch has its own stream of noise. A figure: no gradient passes.
        """
        if self.labelled and (label is None or bool((label < 0).any())):
            marginal = self._marginal_bound(x, k, mask, seed)
            if label is None:
                return marginal
            known = self.log_prob_bound(x, k=k, label=label.clamp(min=0), mask=mask, seed=seed)
            return torch.where(label < 0, marginal, known)
        if k == 1:
            terms = self.bound_terms(x, label=label, mask=mask, seed=seed)
            return -terms["reconstruction"] - terms["divergence"]
        return self._weighted_bound(x, k, self.vector(len(x), label), mask, seed)

    def _weighted_bound(self, x: Tensor, k: int, vector: Tensor | None, mask: Tensor | None, seed: int) -> Tensor:
        mask = self.observed(x, mask)
        posterior = self.posterior(x, vector, mask)
        noise = Noise(seed, len(x), device=x.device)
        parts = []
        at_once = max(1, 4096 // len(x))
        for start in range(0, k, at_once):
            count = min(at_once, k - start)
            epsilon = noise.normal(count, *posterior.mean.shape[1:], dtype=x.dtype)
            weights = importance_weights(self, x, posterior, epsilon, mask, vector, prior=self.code)
            parts.append(weights.logsumexp(dim=1))
        return torch.stack(parts).logsumexp(dim=0) - math.log(k)

    def _marginal_bound(self, x: Tensor, k: int, mask: Tensor | None, seed: int) -> Tensor:
        """log sum_c p(c) w_c with weights whose mean is p(x | c): no closed form, with which it would be no bound."""
        joint = []
        for c, share in enumerate(self.class_log_shares(x)):
            vector = self.vector(len(x), torch.full((len(x),), c, device=x.device))
            joint.append(self._weighted_bound(x, k, vector, mask, seed) + share)
        return torch.stack(joint).logsumexp(dim=0)

    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn given the others; see `imputation.complete`."""
        return complete(self, x, mask, seed=seed).draw
