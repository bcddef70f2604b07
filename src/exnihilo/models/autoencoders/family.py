"""Autoencoders: a code and back. The variational one is a distribution over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, GenerativeModel, Noise, Stage, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import Estimator, elbo
from exnihilo.models.autoencoders.priors import MixturePrior, Prior
from exnihilo.models.classical.family import training_examples
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.likelihoods import Likelihood


class Autoencoder(GenerativeModel):
    """Minimise  E[-log p(x | decoder(encoder(x)))], for `SquaredError` the squared distance |x - r(x)|^2.

    No density and no samples: nothing is said of which codes occur.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.optimizer = optimizer

    def loss(self, batch: Batch) -> Terms:
        """Nats, or squared error, per example, summed over its entries."""
        parameters = self.decoder(self.encoder(batch.x)).to(batch.x)
        return {"reconstruction": -self.likelihood.log_prob(parameters, batch.x, batch.mask).mean()}

    def encode(self, x: Tensor) -> Tensor:
        """[B, latent]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape]; of a table's flags and categories the probabilities."""
        return self.likelihood.mean(self.decoder(z))


class VAE(GenerativeModel):
    """Maximise  E_q(z|x)[log p(x | z)] - KL(q(z | x) || p(z))  <=  log p(x).

    Kingma & Welling, 2014, arXiv:1312.6114, Eq. 3. The encoder makes the numbers that `family` turns into q(z | x),
    the decoder those that the likelihood turns into p(x | z). With an `aggregate`, a second stage without players
    fits it to the codes of the training data, and it takes the prior's place in samples and bounds. Densities are of
    what the likelihood covers: levels where `mass`, else dequantised x (of a table, a row spread over its steps).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: Prior,
        *,
        family: Callable[[Tensor], DiagonalNormal] = DiagonalNormal.of,
        estimator: Estimator = elbo,
        aggregate: MixturePrior | None = None,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood, self.prior = encoder, decoder, likelihood, prior
        self.family, self.estimator, self.aggregate = family, estimator, aggregate
        self.optimizer = optimizer
        self.mass = likelihood.mass

    # -- the two conditional distributions -----------------------------------------------------------------------

    def posterior(self, x: Tensor) -> DiagonalNormal:
        """q(z | x). Of a dequantised table the encoder reads the row that it stands for."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.family(self.encoder(row).to(x))

    def parameters_of(self, z: Tensor) -> Tensor:
        """The parameters of p(x | z), in the precision of z."""
        return self.decoder(z).to(z)

    @property
    def code(self) -> Prior:
        """The distribution of codes that samples and bounds use."""
        return self.aggregate or self.prior

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        """The estimator's terms, in nats."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        return self.estimator(self, x, batch.mask)

    def stages(self) -> Iterable[Stage]:
        """The networks learn; then the aggregate, if there is one, is fitted to their codes."""
        learn = Stage("train", self.players)
        return [learn] if self.aggregate is None else [learn, Stage("prior", list, enter=self._fit_aggregate)]

    @torch.no_grad()
    def _fit_aggregate(self, data: Data) -> None:
        assert self.aggregate is not None
        device = next(self.parameters()).device
        x = training_examples(data, limit=20_000)
        parts = [self.posterior(part.to(device)) for part in x.split(self.chunk)]
        codes = DiagonalNormal(torch.cat([q.mean for q in parts]), torch.cat([q.log_variance for q in parts]))
        self.aggregate.fit(codes, draws=max(1, 10_000 // len(x)))

    # -- capabilities --------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, latent] the mean of q(z | x)."""
        return self.posterior(x).mean

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the mean of p(x | z); of a table's flags and categories the probabilities."""
        return self.likelihood.mean(self.parameters_of(z))

    def draw(
        self,
        noise: Noise,
        *,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        text: Tensor | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        mode: Literal["draw", "mean"] = "draw",
    ) -> Tensor:
        """z ~ p(z), then x ~ p(x | z) or, with mode="mean", its smoother mean, which is no sample of the model."""
        z = self.code.draw(noise)
        return self.decode(z) if mode == "mean" else self.likelihood.draw(self.parameters_of(z), noise)

    @torch.no_grad()
    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x) in nats, z_i ~ q(z | x): a lower bound on average.

        Burda et al., 2016, arXiv:1509.00519, Eq. 8; for k = 1 the evidence lower bound, its divergence in closed form
        where there is one. Example i of a batch has its own stream of noise. A figure: no gradient passes.
        """
        posterior = self.posterior(x)
        noise = Noise(seed, len(x), device=x.device)
        if k == 1 and (kl := self.code.kl(posterior)) is not None:
            z = posterior.at(noise.like(posterior.mean))
            return self.likelihood.log_prob(self.parameters_of(z), x) - kl.flatten(1).sum(dim=1)
        parts = []
        at_once = max(1, 4096 // len(x))
        for start in range(0, k, at_once):
            count = min(at_once, k - start)
            epsilon = noise.normal(count, *posterior.mean.shape[1:], dtype=x.dtype)
            z, log_q = posterior.repeat(count).sample(epsilon.flatten(0, 1))
            log_p = self.likelihood.log_prob(self.parameters_of(z), x.repeat_interleave(count, dim=0))
            log_weight = log_p + self.code.log_prob(z) - log_q
            parts.append(log_weight.view(len(x), count).logsumexp(dim=1))
        return torch.stack(parts).logsumexp(dim=0) - math.log(k)
