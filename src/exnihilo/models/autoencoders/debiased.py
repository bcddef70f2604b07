"""A variational autoencoder that learns to classify, and draws what is rare in its own code more often."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import Batch, Data, Stage, Terms, TrainingError, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import Prior
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.likelihoods import Likelihood

Combine = Literal["max", "product", "uniform", "none"]


def rarity(codes: Tensor, *, bins: int = 10, smoothing: float = 0.001, combine: Combine = "max") -> Tensor:
    """[N] probabilities of drawing examples, the larger the emptier the places of their codes [N, K] are.

    Amini et al., 2019, Algorithm 1: of every unit a histogram Q_i of `bins` between its extremes, then
    w_i(x) = 1 / (Q_i(z_i(x)) + smoothing) over the examples' sum, and over the units the largest (as in the authors'
    course) or `product`: (prod_i w_i)^(1 / sqrt K). The logarithm of the paper's product, which has no root, spreads
    with sqrt K: of 16 independent units it draws 7 of 1000 examples, with the root about as many as `max`. For K = 1
    they are the same. Towards large `smoothing` all are drawn alike. `uniform`: all alike.
    """
    count = len(codes)
    if combine in ("uniform", "none") or count == 0:
        return torch.full((count,), 1 / max(count, 1), dtype=torch.float64)
    z = codes.detach().double().flatten(1)
    low, high = z.min(dim=0).values, z.max(dim=0).values
    width = ((high - low) / bins).clamp_min(1e-12)
    place = ((z - low) / width).long().clamp(0, bins - 1)  # [N, K]
    counts = torch.zeros(bins, z.shape[1], dtype=torch.float64).scatter_add_(0, place, torch.ones_like(z))
    density = counts / (count * width)
    smoothed = density + smoothing
    log_weight = -(smoothed / smoothed.sum(dim=0)).log().gather(0, place)
    if combine == "product":
        return (log_weight.sum(dim=1) / log_weight.shape[1] ** 0.5).softmax(dim=0)
    largest = log_weight.softmax(dim=0).max(dim=1).values
    return largest / largest.sum()


def code_part(output: Tensor, classes: int) -> DiagonalNormal:
    """q(z | x) from what follows the classes' scores: [B, classes + 2 K] -> K units."""
    return DiagonalNormal.of(output[:, classes:].unflatten(1, (2, -1)))


class DebiasedVAE(VAE):
    """Minimise  weight * E[-log p(y | x)] - E_{y debiased}[bound on log p(x)], rare codes drawn more often.

    Amini et al., 2019, Algorithm 1. One encoder makes the scores of the classes and the code; the bound is learnt on
    the classes whose hidden variety is to be evened out, the class on all. Training is a row of short stages: each
    begins by coding all training examples, and draws within a class in inverse proportion to how densely their codes
    lie. Classes are drawn alike (with one debiased class: it and all others, half and half). Examples without a label
    are not drawn.
    """

    compilable = False  # which examples carry the bound differs from batch to batch
    debiased: Tensor
    weights: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: Prior,
        *,
        debiased: Iterable[bool],
        weight: float = 50.0,
        resamplings: int = 10,
        bins: int = 10,
        smoothing: float = 0.001,
        combine: Combine = "max",
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        chosen = torch.tensor(list(debiased))
        family = partial(code_part, classes=len(chosen))
        super().__init__(encoder, decoder, likelihood, prior, family=family, optimizer=optimizer)
        self.weight, self.resamplings = weight, resamplings
        self.bins, self.smoothing, self.combine = bins, smoothing, combine
        self.register_buffer("debiased", chosen, persistent=False)  # [classes]
        self.register_buffer("weights", torch.zeros(0, dtype=torch.float64), persistent=False)  # [examples]

    # -- training ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        """The same players again and again, each time on examples weighed anew."""
        return [
            Stage(f"resampling {number + 1}", self.players, enter=self._weigh, view=self._resampled)
            for number in range(self.resamplings)
        ]

    @torch.no_grad()
    def _weigh(self, data: Data) -> None:
        """Code all training examples and set the chance of each to be drawn."""
        examples = data.first()
        if examples.label is None or not (examples.label >= 0).any():
            raise TrainingError("No training example has a label, so there is no class to learn.")
        device = next(self.parameters()).device
        codes = torch.cat([self.encode(part.to(device)).cpu() for part in examples.x.split(self.chunk)])
        self.weights = self.chances(codes, examples.label.cpu())

    def _resampled(self, data: Data) -> Data:
        return data.weighted(self.weights)

    def chances(self, codes: Tensor, label: Tensor) -> Tensor:
        """[N] weights of examples with codes [N, K]: by rarity within debiased classes, alike among all others."""
        if self.combine == "none":
            return (label >= 0).double()
        named = self.debiased.cpu().nonzero()[:, 0].tolist()
        weights = torch.zeros(len(label), dtype=torch.float64)
        for number in named:
            rows = label == number
            weights[rows] = rarity(codes[rows], bins=self.bins, smoothing=self.smoothing, combine=self.combine)
        others = (label >= 0) & ~torch.isin(label, torch.tensor(named, dtype=label.dtype))
        weights[others] = 1 / max(int(others.sum()), 1)
        return weights

    def loss(self, batch: Batch) -> Terms:
        """The cross-entropy in nats times its weight, and the bound's terms on examples of debiased classes."""
        assert batch.label is not None
        known = batch.label >= 0
        total = F.nll_loss(self.classify(batch.x), batch.label, ignore_index=-1, reduction="sum")
        terms: Terms = {"cross_entropy": self.weight * total / known.sum().clamp_min(1)}
        chosen = known & self.debiased[batch.label.clamp_min(0)]
        if chosen.any():
            share = chosen.float().mean()
            bound = super().loss(batch[chosen])
            terms |= {name: term * share if term.requires_grad else term for name, term in bound.items()}
        return terms

    def validate(self, batch: Batch) -> Terms:
        """None: a validation split as skewed as the training split would prefer the biased weights."""
        return {}

    # -- capabilities --------------------------------------------------------------------------------------------

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(y | x), by the encoder."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.encoder(row).to(x)[:, : len(self.debiased)].log_softmax(dim=1)
