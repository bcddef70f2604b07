"""A variational autoencoder whose code falls into clusters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, Player, Stage, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import clustered_elbo
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import LearnedMixture
from exnihilo.models.classical.family import training_examples
from exnihilo.probability.likelihoods import Likelihood


class ClusteredVAE(VAE):
    """Maximise  E[log p(x | z)] - KL(q(z | x) q(c | x) || p(z | c) p(c))  over networks and a mixture of K clusters.

    Jiang et al., 2017, arXiv:1611.05148, Eq. 12. In a first stage the networks learn as a plain autoencoder; then a
    mixture is fitted to its codes, from which the clusters start, for those drawn at random would soon be one.
    """

    prior: LearnedMixture
    placed: Tensor  # whether the clusters stand where codes are, that is, the second stage has begun

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: LearnedMixture,
        *,
        pretraining: float = 0.3,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__(encoder, decoder, likelihood, prior, estimator=clustered_elbo, optimizer=optimizer)
        self.pretraining = pretraining
        self.register_buffer("placed", torch.tensor(False))

    def stages(self) -> Iterable[Stage]:
        """Codes, then clusters; `pretraining` is the first one's share of the rounds."""
        return [
            Stage("codes", self._pretrain, share=self.pretraining),
            Stage("train", self.players, share=1 - self.pretraining, enter=self._place),
        ]

    def _pretrain(self) -> Iterable[Player]:
        return [Player("model", nn.ModuleList([self.encoder, self.decoder, self.likelihood]), self.reconstruction)]

    def reconstruction(self, batch: Batch) -> Terms:
        """-log p(x | z) in nats at the posterior's mean."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        mask = self.observed(batch.x, batch.mask)
        parameters = self.parameters_of(self.posterior(x, mask=mask).mean)
        return {"reconstruction": -self.likelihood.log_prob(parameters, x, mask).mean()}

    def validate(self, batch: Batch) -> Terms:
        """Minus the bound in nats; before there are clusters, the reconstruction."""
        return super().validate(batch) if self.placed else self.reconstruction(batch)

    @torch.no_grad()
    def _place(self, data: Data) -> None:
        device = next(self.parameters()).device
        x = training_examples(data, limit=20_000)
        self.prior.fit(torch.cat([self.encode(part.to(device)) for part in x.split(self.chunk)]))
        self.placed.fill_(True)

    def clusters(self, x: Tensor) -> Tensor:
        """[B, K] log q(c | x) = log p(c | z) at the posterior's mean (Jiang et al., 2017, Eq. 16)."""
        return self.prior.log_responsibilities(self.encode(x))
