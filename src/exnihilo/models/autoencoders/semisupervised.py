"""A variational autoencoder that learns classes from a few labels and many examples without."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from exnihilo.core import Batch, Data, Stage, Terms, TrainingError, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import active_units, parts_of_bound
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import Prior
from exnihilo.nets.layers import Condition
from exnihilo.probability.likelihoods import Likelihood


class SemiSupervisedVAE(VAE):
    """Maximise  sum_labelled L(x, y) + sum_unlabelled U(x) + weight * sum_labelled log q(y | x),

    L(x, y) = E_q(z|x,y)[log p(x | y, z)] + log p(y) - KL(q(z | x, y) || p(z))  <=  log p(x, y),
    U(x) = sum_y q(y | x) L(x, y) + H(q(y | x))  <=  log p(x).

    Kingma et al., 2014, arXiv:1406.5298, Eq. 6-9 (their model M2). Label -1: the class is unknown. All are tried for
    every example, at the cost of as many passes; of one whose class is known only that counts. The last term is a mean
    over the labelled examples of a batch, so `weight` does not depend on how few they are.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: Prior,
        classifier: nn.Module,
        *,
        condition: Condition,
        weight: float = 10.0,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__(encoder, decoder, likelihood, prior, condition=condition, optimizer=optimizer)
        self.classifier, self.weight = classifier, weight

    # -- training ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self._require_labels)]

    @staticmethod
    def _require_labels(data: Data) -> None:
        label = data.first().label
        if label is None or not (label >= 0).any():
            raise TrainingError("No training example has a label, and m2 needs a few. Without any, use gmvae.")

    def loss(self, batch: Batch) -> Terms:
        """Nats per example; the cross-entropy, times its weight, per labelled one."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        label = batch.label if batch.label is not None else torch.full((len(x),), -1, device=x.device)
        log_q = self.classify(batch.x)
        terms = self.bound_parts(x, label, log_q, self.observed(batch.x, batch.mask))
        labelled = (label >= 0).sum().clamp(min=1)
        cross_entropy = nll_loss(log_q, label, ignore_index=-1, reduction="sum") / labelled
        return {**{name: term.mean() for name, term in terms.items()}, "cross_entropy": self.weight * cross_entropy}

    def bound_parts(self, x: Tensor, label: Tensor, log_q: Tensor, mask: Tensor | None = None) -> Terms:
        """What -L (labelled) and -U (label -1) are the sum of, each [B] in nats, with one draw of z per class."""
        count = self.spec.classes
        every = torch.arange(count, device=x.device)
        chances = torch.where(label[:, None] < 0, log_q.exp(), (label[:, None] == every).to(log_q))  # [B, classes]
        many = None if mask is None else mask.repeat_interleave(count, dim=0)
        vector = self.vector(len(x) * count, every.repeat(len(x)))
        reconstruction, kl, units = parts_of_bound(self, x.repeat_interleave(count, dim=0), many, vector)

        def expected(values: Tensor) -> Tensor:
            return (chances * values.view(len(x), count)).sum(dim=1)

        shares = self.class_log_shares(x)
        known = torch.where(label[:, None] < 0, log_q, 0.0)  # log of the chances; xlogy has no gradient where one is 0
        return {
            "reconstruction": expected(reconstruction),
            "divergence": expected(kl.flatten(1).sum(dim=1)),
            "classes": (chances * (known - shares)).sum(dim=1),
            "active_units": active_units(units),
        }

    # -- capabilities --------------------------------------------------------------------------------------------

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log q(y | x), by the classifier."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.classifier(row).to(x).log_softmax(dim=1)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, latent] the mean of q(z | x, y), of the likeliest class unless one is given: style without class."""
        return super().encode(x, label=self.classify(x).argmax(dim=1) if label is None else label)

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] the mean of p(x | z, y); without a class that of p(x | z), the classes' means by their shares."""
        if label is not None:
            return super().decode(z, label=label)
        shares = self.class_log_shares(z).exp()
        means = [
            share * super(SemiSupervisedVAE, self).decode(z, label=torch.full((len(z),), c, device=z.device))
            for c, share in enumerate(shares)
        ]
        return torch.stack(means).sum(dim=0)

    def reconstruct(self, x: Tensor) -> Tensor:
        """[B, *shape] x coded and decoded as of its likeliest class."""
        label = self.classify(x).argmax(dim=1)
        return self.decode(self.encode(x, label=label), label=label)
