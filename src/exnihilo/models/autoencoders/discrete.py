"""Variational autoencoders whose code is a handful of categories."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from exnihilo.core import NOTHING, Batch, Conditions, GenerativeModel, Noise, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import active_units
from exnihilo.models.autoencoders.gaps import said
from exnihilo.probability.divergences import kl_categorical
from exnihilo.probability.likelihoods import Likelihood

Relaxation = Literal["soft", "straight_through"]


def gumbel_softmax(logits: Tensor, temperature: float) -> Tensor:
    """softmax((log pi + g) / t), g = -log(-log u): points of the simplex [..., C], the nearer a corner the colder.

    Jang et al., 2017, arXiv:1611.01144, Eq. 2; Maddison et al., 2017, arXiv:1611.00712, Eq. 10. Their largest entries
    are distributed as pi at every temperature. Draws from torch's generator, so call it in a seeded scope.
    """
    gumbel = -torch.empty_like(logits).exponential_().clamp(min=1e-20).log()
    return ((logits + gumbel) / temperature).softmax(dim=-1)


def straight_through(soft: Tensor) -> Tensor:
    """The corner nearest to `soft` with the gradient of `soft` (Jang et al., 2017, section 2.2); biased."""
    return hard(soft) + soft - soft.detach()


def hard(scores: Tensor) -> Tensor:
    """One 1 in every row, at its largest entry."""
    return one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(scores)


class CategoricalVAE(GenerativeModel):
    """Maximise  E_q[log p(x | z)] - sum_g KL(q(z_g | x) || uniform),  z_g one of C categories, g = 1 ... G.

    Jang et al., 2017, arXiv:1611.01144. The encoder makes logits [B, G, C]; the decoder reads one-hot codes of that
    shape. Training lets gradients through relaxed draws, whose temperature falls to `coldest` as the progress rises,
    and takes the divergence of the categories themselves, in closed form: not that of the relaxed densities, so what
    is minimised is no bound until the relaxation is cold. Samples and `log_prob_bound` use true categories.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        groups: int,
        categories: int,
        coldest: float = 0.4,
        relaxation: Relaxation = "soft",
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.groups, self.categories = groups, categories
        self.coldest, self.relaxation = coldest, relaxation
        self.optimizer, self.mass = optimizer, likelihood.mass

    @property
    def temperature(self) -> float:
        """From 1 at the start to `coldest` at a quarter of the training, on an exponential."""
        return max(self.coldest, self.coldest ** (4 * self.progress))

    def logits(self, x: Tensor) -> Tensor:
        """[B, G, C] of q(z | x). Of a dequantised table the encoder reads the row that it stands for."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.encoder(row).to(x)

    def parameters_of(self, z: Tensor) -> Tensor:
        """The parameters of p(x | z), in the precision of z."""
        return self.decoder(z).to(z)

    def loss(self, batch: Batch) -> Terms:
        """Nats, with one relaxed draw per example."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        mask = said(self.spec, batch.x, batch.mask)
        logits = self.logits(x)
        z = gumbel_softmax(logits, self.temperature)
        if self.relaxation == "straight_through":
            z = straight_through(z)
        kl = kl_categorical(logits)  # [B, G]
        return {
            "reconstruction": -self.likelihood.log_prob(self.parameters_of(z), x, mask).mean(),
            "divergence": kl.sum(dim=1).mean(),
            "active_units": active_units(kl),
        }

    # -- capabilities --------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, G, C] the most probable categories, one-hot; `logits` has what q(z | x) says of all of them."""
        return hard(self.logits(x))

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the mean of p(x | z); points between one-hot codes are allowed, as training has seen them."""
        return self.likelihood.mean(self.parameters_of(z))

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), G, C] one-hot, uniform."""
        index = noise.categorical(torch.zeros(len(noise), self.groups, self.categories, device=noise.device))
        return one_hot(index, self.categories).float()

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, mode: Literal["draw", "mean"] = "draw") -> Tensor:
        """z uniform, then x ~ p(x | z) or, with mode="mean", its smoother mean, which is no sample of the model."""
        z = self.draw_code(noise)
        return self.decode(z) if mode == "mean" else self.likelihood.draw(self.parameters_of(z), noise)

    @torch.no_grad()
    def bound_terms(self, x: Tensor, *, label: Tensor | None = None, seed: int = 0) -> Terms:
        """-log p(x | z) with z ~ q(z | x), one-hot, and KL(q(z | x) || uniform) in closed form; [B] nats."""
        logits = self.logits(x)
        index = Noise(seed, len(x), device=x.device).categorical(logits)
        z = one_hot(index, self.categories).to(x)
        return {
            "reconstruction": -self.likelihood.log_prob(self.parameters_of(z), x),
            "divergence": kl_categorical(logits).sum(dim=1),
        }

    @torch.no_grad()
    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x) in nats, z_i ~ q(z | x) one-hot: a bound on average.

        For k = 1 with the divergence in closed form. A figure: no gradient passes.
        """
        if k == 1:
            terms = self.bound_terms(x, seed=seed)
            return -terms["reconstruction"] - terms["divergence"]
        log_q = self.logits(x).log_softmax(dim=2)
        noise = Noise(seed, len(x), device=x.device)
        parts = []
        at_once = max(1, 4096 // len(x))
        for start in range(0, k, at_once):
            count = min(at_once, k - start)
            index = noise.categorical(log_q[:, None].expand(-1, count, -1, -1))  # [B, count, G]
            chosen = log_q[:, None].expand(-1, count, -1, -1).gather(3, index[..., None]).sum(dim=(2, 3))
            z = one_hot(index, self.categories).to(x).flatten(0, 1)
            log_p = self.likelihood.log_prob(self.parameters_of(z), x.repeat_interleave(count, dim=0))
            log_prior = -self.groups * math.log(self.categories)
            parts.append((log_p.view(len(x), count) + log_prior - chosen).logsumexp(dim=1))
        return torch.stack(parts).logsumexp(dim=0) - math.log(k)
