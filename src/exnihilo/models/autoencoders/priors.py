"""Distributions of the code before anything is seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from exnihilo.core import Noise
from exnihilo.models.classical.mixture import FittedMixture
from exnihilo.probability.distributions import DiagonalNormal, normal_log_prob
from exnihilo.probability.divergences import kl_normal


class Prior(nn.Module):
    """p(z) over codes [B, *latent]."""

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        raise NotImplementedError

    def draw(self, noise: Noise) -> Tensor:
        """[len(noise), *latent]."""
        raise NotImplementedError

    def kl(self, posterior: DiagonalNormal) -> Tensor | None:
        """[B, *latent] KL(q || p) of every unit of the code, or None where there is no closed form."""
        return None


class StandardNormal(Prior):
    """N(0, I)."""

    def __init__(self, latent: Sequence[int]):
        super().__init__()
        self.latent = tuple(latent)

    def log_prob(self, z: Tensor) -> Tensor:
        return normal_log_prob(z).flatten(1).sum(dim=1)

    def draw(self, noise: Noise) -> Tensor:
        return noise.normal(*self.latent)

    def kl(self, posterior: DiagonalNormal) -> Tensor:
        return kl_normal(posterior.mean, posterior.log_variance)


class MixturePrior(Prior):
    """sum_k w_k N(z; m_k, S_k), fitted to codes after the networks have learnt; N(0, I) until then.

    Closes the gap between the prior and the codes that really occur (Ghosh et al., 2020, arXiv:1903.12436,
    section 4), from which most of a small VAE's bad samples come.
    """

    def __init__(self, latent: int, components: int):
        super().__init__()
        self.mixture = FittedMixture(latent, components)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.mixture.density.log_prob(z.double()).to(z.dtype)

    def draw(self, noise: Noise) -> Tensor:
        return self.mixture.density.draw(noise).float()

    def fit(self, posterior: DiagonalNormal, draws: int) -> None:
        """Fit to draws from every posterior: to the mixture of all of them, which is what the decoder has learnt."""
        repeated = posterior.repeat(draws)
        self.mixture.fit(repeated.sample(torch.randn_like(repeated.mean))[0])
