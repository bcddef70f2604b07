"""Autoencoders without a distribution over codes: there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from exnihilo.core import Batch, GenerativeModel, Player, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.corruptions import Corruption
from exnihilo.models.autoencoders.gaps import said
from exnihilo.models.autoencoders.penalties import Penalty
from exnihilo.probability.chains import TorchChance
from exnihilo.probability.likelihoods import Likelihood


class Autoencoder(GenerativeModel):
    """Minimise  E[-log p(x | decoder(encoder(c(x))))] + penalties,  for `SquaredError` |x - r(c(x))|^2 + penalties.

    c is the corruption, by default none. No density and no samples: nothing is said of which codes occur.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        corruption: Corruption | None = None,
        penalties: Mapping[str, Penalty] | None = None,
        optimizer: OptimizerFactory = adamw(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.corruption, self.penalties = corruption, dict(penalties or {})
        self.optimizer, self.batch = optimizer, batch

    def players(self) -> Iterable[Player]:
        """Everything at once."""
        coupled = any(penalty.coupled for penalty in self.penalties.values())
        return [Player("model", self, self.loss, coupled=coupled)]

    def loss(self, batch: Batch) -> Terms:
        """Nats, or squared error, per example, summed over its entries; and the penalties."""
        code = self.encoder(self.corrupted(batch.x))
        parameters = self.decoder(code).to(batch.x)
        mask = said(self.spec, batch.x, batch.mask)
        terms = {"reconstruction": -self.likelihood.log_prob(parameters, batch.x, mask).mean()}
        return terms | {name: penalty(self.encoder, batch.x, code) for name, penalty in self.penalties.items()}

    def corrupted(self, x: Tensor) -> Tensor:
        """What the encoder is shown of x in training; draws from torch's generator."""
        return x if self.corruption is None else self.corruption(x, TorchChance())

    def encode(self, x: Tensor) -> Tensor:
        """[B, latent]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape]; of a table's flags and categories the probabilities."""
        return self.likelihood.mean(self.decoder(z))
