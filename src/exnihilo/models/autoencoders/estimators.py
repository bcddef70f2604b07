"""What a variational autoencoder minimises: estimates of a bound on -log p(x), as named terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from exnihilo.core import Terms
from exnihilo.models.autoencoders.priors import LearnedMixture, Posterior, Prior
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.divergences import kl_normal

if TYPE_CHECKING:
    from exnihilo.models.autoencoders.family import VAE

#: (model, x, mask, vector) -> terms; the mask is True where x was observed, None = everywhere; the vector is what the
#: networks are told of class and attributes, None = nothing.
Estimator = Callable[["VAE", Tensor, "Tensor | None", "Tensor | None"], Terms]

ACTIVE = 0.01  # nats that a unit must carry on average to count as used (Burda et al., 2016, arXiv:1509.00519)


def elbo(model: VAE, x: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Terms:
    """-E_q[log p(x | z)] + KL(q(z | x) || p(z)) with one draw per example, both in nats.

    Kingma & Welling, 2014, arXiv:1312.6114, Eq. 7. Summed over entries and codes, averaged over the batch; a mean over
    the entries would overweight the divergence by their number.
    """
    reconstruction, kl, units = parts_of_bound(model, x, mask, vector)
    return {
        "reconstruction": reconstruction.mean(),
        "divergence": kl.flatten(1).sum(dim=1).mean(),
        "active_units": active_units(units),
    }


def parts_of_bound(model: VAE, x: Tensor, mask: Tensor | None, vector: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """-log p(x | z) [B], the divergence of every unit, and what each unit carries, all of one draw and in nats.

    The divergence is [B, *latent] in closed form where there is one, else log q - log p of the draw, [B, 1]. What a
    unit carries is measured against N(0, 1) where there is none, [B, *latent].
    """
    posterior, prior = model.posterior(x, vector, mask), model.prior.given(vector)
    epsilon = torch.randn_like(posterior.mean)
    kl = prior.kl(posterior)
    if kl is not None:
        z, divergence, units = posterior.at(epsilon), kl, kl
    else:
        z, log_q = posterior.sample(epsilon)
        divergence = (log_q - prior.log_prob(z))[:, None]
        units = carried(posterior)
    return -model.likelihood.log_prob(model.parameters_of(z, vector), x, mask), divergence, units


def carried(posterior: Posterior) -> Tensor:
    """[B, *latent] how far each unit is from N(0, 1): in nats, or of another family half the squared mean alone."""
    if isinstance(posterior, DiagonalNormal):
        return kl_normal(posterior.mean, posterior.log_variance)
    return 0.5 * posterior.mean.square()


@torch.no_grad()
def active_units(kl: Tensor) -> Tensor:
    """How many units of the code say anything: KL(q(z_k | x) || p(z_k)) > 0.01 nats on average over the batch.

    kl: [B, *latent]. None of them active is posterior collapse: the decoder has learnt to do without the code.
    """
    return (kl.mean(dim=0) > ACTIVE).sum().to(kl)


def free_nats(kl: Tensor, free: float) -> Tensor:
    """sum_k max(free, mean over the batch of KL_k): a unit below `free` nats is not pressed further.

    Kingma et al., 2016, arXiv:1606.04934, Eq. 16. kl: [B, *latent]; no gradient reaches a unit below. Without a closed
    form there is one unit, the whole code.
    """
    return kl.mean(dim=0).clamp(min=free).sum() if free else kl.flatten(1).sum(dim=1).mean()


def risen(progress: float, share: float) -> float:
    """From 0 to 1 over a share of the training, then 1."""
    return min(1.0, progress / share) if share else 1.0


@dataclass(frozen=True)
class WeightedELBO:
    """reconstruction + beta(t) sum_k max(free_bits, KL_k), beta rising linearly to its value over `warm_up`.

    Higgins et al., 2017 (beta above 1 presses towards few independent units); Bowman et al., 2016, arXiv:1511.06349
    (warm-up). `warm_up` is a share of the training, `free_bits` nats per unit. With beta other than 1 no bound.
    """

    beta: float = 1.0
    warm_up: float = 0.0
    free_bits: float = 0.0

    def weight(self, progress: float) -> float:
        """beta at a share of the training."""
        return self.beta * risen(progress, self.warm_up)

    def at_end(self) -> WeightedELBO:
        """The objective without its warm-up: what weights are compared by."""
        return replace(self, warm_up=0.0)

    def __call__(self, model: VAE, x: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Terms:
        reconstruction, kl, units = parts_of_bound(model, x, mask, vector)
        return {
            "reconstruction": reconstruction.mean(),
            "divergence": self.weight(model.progress) * free_nats(kl, self.free_bits),
            "nats": kl.detach().flatten(1).sum(dim=1).mean(),
            "active_units": active_units(units),
        }


@dataclass(frozen=True)
class CapacityELBO:
    """reconstruction + beta |KL - C(t)|, C rising linearly from 0 to `capacity` nats over a share `rise` of training.

    Burgess et al., 2018, arXiv:1804.03599, Eq. 8 (beta is their gamma): how much the code may say is raised slowly, so
    that units take up one factor after the other.
    """

    beta: float
    capacity: float
    rise: float = 0.5

    def allowed(self, progress: float) -> float:
        """C in nats at a share of the training."""
        return self.capacity * risen(progress, self.rise)

    def at_end(self) -> CapacityELBO:
        """The objective at the full capacity: what weights are compared by."""
        return replace(self, rise=0.0)

    def __call__(self, model: VAE, x: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Terms:
        reconstruction, kl, units = parts_of_bound(model, x, mask, vector)
        nats = kl.flatten(1).sum(dim=1).mean()
        return {
            "reconstruction": reconstruction.mean(),
            "divergence": self.beta * (nats - self.allowed(model.progress)).abs(),
            "nats": nats.detach(),
            "active_units": active_units(units),
        }


def importance_weights(
    model: VAE,
    x: Tensor,
    posterior: Posterior,
    epsilon: Tensor,
    mask: Tensor | None = None,
    vector: Tensor | None = None,
    *,
    prior: Prior | None = None,
) -> Tensor:
    """[B, k] log p(x | z_i) + log p(z_i) - log q(z_i | x) in nats, z_i of epsilon [B, k, *latent].

    prior: the model's own by default, as in training; figures take its `code`.
    """
    z, log_q = posterior.repeat(epsilon.shape[1]).sample(epsilon.flatten(0, 1))
    return (log_joint(model, x, z, mask, vector, prior) - log_q).view(epsilon.shape[:2])


def log_joint(
    model: VAE,
    x: Tensor,
    z: Tensor,
    mask: Tensor | None = None,
    vector: Tensor | None = None,
    prior: Prior | None = None,
) -> Tensor:
    """[B * k] log p(x | z) + log p(z) of codes [B * k, *latent], k in a row for every example x [B, *shape]."""
    k = len(z) // len(x)
    mask, vector = (None if value is None else value.repeat_interleave(k, dim=0) for value in (mask, vector))
    log_p = model.likelihood.log_prob(model.parameters_of(z, vector), x.repeat_interleave(k, dim=0), mask)
    return log_p + (prior or model.prior).given(vector).log_prob(z)


@dataclass(frozen=True)
class ImportanceWeighted:
    """-log 1/k sum_i p(x, z_i) / q(z_i | x): a bound that k draws tighten, at the price of a vaguer posterior.

    Burda et al., 2016, arXiv:1509.00519, Eq. 8. gradient="dreg" is the doubly reparameterised one (Tucker et al., 2019,
    arXiv:1810.04152, Eq. 6): equal on average for the encoder, but its signal does not sink with k.
    """

    k: int = 10
    gradient: Literal["iwae", "dreg"] = "dreg"

    def __call__(self, model: VAE, x: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Terms:
        posterior = model.posterior(x, vector, mask)
        epsilon = torch.randn(len(x), self.k, *posterior.mean.shape[1:], dtype=x.dtype, device=x.device)
        if self.gradient == "dreg":
            loss, weights = self._doubly_reparameterised(model, x, posterior, epsilon, mask, vector)
        else:
            weights = importance_weights(model, x, posterior, epsilon, mask, vector)
            loss = (math.log(self.k) - weights.logsumexp(dim=1)).mean()
        return {
            "bound": loss,
            "effective_samples": effective_samples(weights.detach()).mean(),
            "active_units": active_units(carried(posterior)),
        }

    def _doubly_reparameterised(
        self, model: VAE, x: Tensor, posterior: Posterior, epsilon: Tensor, mask: Tensor | None, vector: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The bound's value; its gradient sum_i w_i d log w_i for p, sum_i w_i^2 (d log w_i / d z_i) d z_i for q."""
        assert isinstance(posterior, DiagonalNormal), "DReG needs a posterior whose parameters can be held still"
        repeated = posterior.repeat(self.k)
        z = repeated.at(epsilon.flatten(0, 1))
        log_weight = log_joint(model, x, z, mask, vector) - repeated.detach().log_prob(z)
        shares = log_weight.detach().view(len(x), self.k).softmax(dim=1).flatten()
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * shares.view(-1, *[1] * (z.ndim - 1)))
        weights = log_weight.view(len(x), self.k)
        value = (math.log(self.k) - weights.detach().logsumexp(dim=1)).mean()
        surrogate = -(shares * log_weight).sum() / len(x)
        return surrogate + (value - surrogate).detach(), weights


def effective_samples(log_weights: Tensor) -> Tensor:
    """[B] (sum_i w_i)^2 / sum_i w_i^2 of weights [B, k]: between 1, where one outweighs all, and k (Kong, 1992)."""
    return torch.exp(2 * log_weights.logsumexp(dim=1) - (2 * log_weights).logsumexp(dim=1))


def clustered_elbo(model: VAE, x: Tensor, mask: Tensor | None = None, vector: Tensor | None = None) -> Terms:
    """-E_q[log p(x | z)] + KL(q(z | x) q(c | x) || p(z | c) p(c)), q(c | x) = p(c | z) of the draw z, in closed form.

    Jiang et al., 2017, arXiv:1611.05148, Eq. 12 and 16; for a `LearnedMixture` as the prior.
    """
    assert isinstance(model.prior, LearnedMixture)
    posterior = model.posterior(x, vector, mask)
    assert isinstance(posterior, DiagonalNormal)
    z = posterior.at(torch.randn_like(posterior.mean))
    log_shares = model.prior.log_responsibilities(z)
    return {
        "reconstruction": -model.likelihood.log_prob(model.parameters_of(z, vector), x, mask).mean(),
        "divergence": model.prior.divergence(posterior, log_shares).mean(),
        "active_units": active_units(carried(posterior)),
        "clusters": clusters_in_use(log_shares),
    }


@torch.no_grad()
def clusters_in_use(log_shares: Tensor) -> Tensor:
    """exp of the entropy of the mean share of every cluster, between 1 and their number; log_shares [B, clusters]."""
    share = log_shares.exp().mean(dim=0)
    return torch.special.entr(share).sum().exp()
