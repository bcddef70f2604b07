"""What a variational autoencoder minimises: estimates of a bound on -log p(x), as named terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exnihilo.core import Terms
from exnihilo.probability.divergences import kl_normal

if TYPE_CHECKING:
    from exnihilo.models.autoencoders.family import VAE

#: (model, x, mask) -> terms; the mask is True where x was observed, None = everywhere.
Estimator = Callable[["VAE", Tensor, "Tensor | None"], Terms]

ACTIVE = 0.01  # nats that a unit must carry on average to count as used (Burda et al., 2016, arXiv:1509.00519)


def elbo(model: VAE, x: Tensor, mask: Tensor | None = None) -> Terms:
    """-E_q[log p(x | z)] + KL(q(z | x) || p(z)) with one draw per example, both in nats.

    Kingma & Welling, 2014, arXiv:1312.6114, Eq. 7. Summed over entries and codes, averaged over the batch; a mean over
    the entries would overweight the divergence by their number.
    """
    posterior = model.posterior(x)
    z = posterior.at(torch.randn_like(posterior.mean))
    kl = model.prior.kl(posterior)  # [B, *latent]
    divergence = kl.flatten(1).sum(dim=1) if kl is not None else posterior.log_prob(z) - model.prior.log_prob(z)
    return {
        "reconstruction": -model.likelihood.log_prob(model.parameters_of(z), x, mask).mean(),
        "divergence": divergence.mean(),
        "active_units": active_units(kl_normal(posterior.mean, posterior.log_variance) if kl is None else kl),
    }


@torch.no_grad()
def active_units(kl: Tensor) -> Tensor:
    """How many units of the code say anything: KL(q(z_k | x) || p(z_k)) > 0.01 nats on average over the batch.

    kl: [B, *latent]. None of them active is posterior collapse: the decoder has learnt to do without the code.
    """
    return (kl.mean(dim=0) > ACTIVE).sum().to(kl)
