"""Distributions of the code: before anything is seen, and what is asked of those after (`Posterior`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from exnihilo.core import Data, DataSpec, Noise
from exnihilo.models.classical.mixture import FittedMixture
from exnihilo.probability.distributions import DiagonalNormal, GaussianMixture, normal_log_prob
from exnihilo.probability.divergences import kl_categorical, kl_normal


class Posterior(Protocol):
    """q(z | x) for every example of a batch; its draws carry gradients (Kingma & Welling, 2014, section 2.4).

    epsilon is standard normal and shaped as the mean, [B, *latent].
    """

    @property
    def mean(self) -> Tensor:
        """[B, *latent] what `encode` answers."""
        ...

    def at(self, epsilon: Tensor) -> Tensor:
        """z [B, *latent], where its density is not needed."""
        ...

    def sample(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """z and log q(z | x) [B] in nats."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] log q(z | x) in nats."""
        ...

    def repeat(self, n: int) -> Posterior:
        """Every distribution n times in a row: batch [B] -> [B * n]."""
        ...


#: Makes q(z | x) of the encoder's output; a module where it has parameters of its own (a flow).
PosteriorFamily = Callable[[Tensor], Posterior]


class Prior(nn.Module):
    """p(z) over codes [B, *latent]."""

    def given(self, vector: Tensor | None) -> Prior:
        """p(z | y) for the y behind a condition's vector [B, V]; by default the code knows nothing of it."""
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        raise NotImplementedError

    def draw(self, noise: Noise) -> Tensor:
        """[len(noise), *latent]."""
        raise NotImplementedError

    def kl(self, posterior: Posterior) -> Tensor | None:
        """[B, *latent] KL(q || p) of every unit of the code, or None where there is no closed form."""
        return None

    def prepare(self, data: Data) -> None:
        """Before the training's first round, in a seeded scope: start values from the data."""


class StandardNormal(Prior):
    """N(0, I)."""

    def __init__(self, latent: Sequence[int]):
        super().__init__()
        self.latent = tuple(latent)

    def log_prob(self, z: Tensor) -> Tensor:
        return normal_log_prob(z).flatten(1).sum(dim=1)

    def draw(self, noise: Noise) -> Tensor:
        return noise.normal(*self.latent)

    def kl(self, posterior: Posterior) -> Tensor | None:
        if not isinstance(posterior, DiagonalNormal):
            return None
        return kl_normal(posterior.mean, posterior.log_variance)


class NormalPrior(Prior):
    """N(mean, diag exp(log_variance)), another one for every example: [B, *latent] each."""

    def __init__(self, normal: DiagonalNormal):
        super().__init__()
        self.normal = normal

    def log_prob(self, z: Tensor) -> Tensor:
        return self.normal.repeat(len(z) // len(self.normal.mean)).log_prob(z)

    def draw(self, noise: Noise) -> Tensor:
        return self.normal.at(noise.like(self.normal.mean))

    def kl(self, posterior: Posterior) -> Tensor | None:
        if not isinstance(posterior, DiagonalNormal):
            return None
        return kl_normal(posterior.mean, posterior.log_variance, self.normal.mean, self.normal.log_variance)


class ConditionalNormal(Prior):
    """p(z | y) = N(m(y), diag v(y)), both linear in the condition's vector; N(0, I) before training.

    Sohn, Lee & Yan, 2015, section 4.1.
    """

    def __init__(self, width: int, latent: int):
        super().__init__()
        self.layer = nn.Linear(width, 2 * latent)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def given(self, vector: Tensor | None) -> NormalPrior:
        assert vector is not None
        return NormalPrior(DiagonalNormal.of(self.layer(vector).unflatten(1, (2, -1))))


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

    def fit(self, codes: Tensor) -> None:
        """Fit to draws [N, latent] from all posteriors: to their mixture, which is what the decoder has learnt."""
        self.mixture.fit(codes)


class LearnedMixture(Prior):
    """sum_c pi_c N(z; m_c, diag s_c^2) with parameters that learn beside the networks: one component a cluster.

    Jiang et al., 2017, arXiv:1611.05148, Eq. 4-6. Components that start alike stay alike: `fit` places them.
    """

    def __init__(self, latent: int, components: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_variances = nn.Parameter(torch.zeros(components, latent))

    @property
    def density(self) -> GaussianMixture:
        """The distribution as it stands."""
        return GaussianMixture(self.logits.log_softmax(dim=0), self.means, torch.exp(0.5 * self.log_variances))

    def log_prob(self, z: Tensor) -> Tensor:
        return self.density.log_prob(z)

    def draw(self, noise: Noise) -> Tensor:
        return self.density.draw(noise)

    def log_responsibilities(self, z: Tensor) -> Tensor:
        """[B, components] log p(c | z) (Jiang et al., 2017, Eq. 16)."""
        return self.density.component_log_prob(z).log_softmax(dim=1)

    def divergence(self, posterior: DiagonalNormal, log_shares: Tensor) -> Tensor:
        """[B] sum_c g_c KL(q(z | x) || N(m_c, s_c^2)) + KL(g || pi) with shares g = exp(log_shares) [B, components].

        The closed form of Jiang et al., 2017, Eq. 12: of q(z | x) q(c | x) against p(z | c) p(c), in nats.
        """
        mean, log_variance = posterior.mean[:, None], posterior.log_variance[:, None]
        parts = kl_normal(mean, log_variance, self.means, self.log_variances).sum(dim=2)  # [B, components]
        return (log_shares.exp() * parts).sum(dim=1) + kl_categorical(log_shares, self.logits)

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Components at those of a mixture fitted to codes [N, latent] by expectation-maximisation."""
        mixture = FittedMixture(codes.shape[1], len(self.means), "diag")
        mixture.fit(codes)
        self.logits.copy_(mixture.log_weights)
        self.means.copy_(mixture.means)
        self.log_variances.copy_(2 * mixture.factors.log())


class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z | u_k): the posteriors' mixture over K learned pseudo-inputs u_k in the data's range.

    Tomczak & Welling, 2018, arXiv:1705.07120, Eq. 9: what the best prior, the mixture over all data, comes to with few
    inputs. Shares the encoder with the model, so gradients of the prior reach the encoder as well.
    """

    def __init__(self, encoder: nn.Module, family: PosteriorFamily, data: DataSpec, inputs: int):
        super().__init__()
        self.encoder, self.family = encoder, family
        self.inputs = nn.Parameter(torch.randn(inputs, *data.shape) * 0.05)
        self.low = data.low if data.levels else -math.inf
        self.high = 1.0 if data.levels else math.inf

    def components(self) -> Posterior:
        """q(z | u_k) for all K."""
        return self.family(self.encoder(self.inputs.clamp(self.low, self.high)))

    def log_prob(self, z: Tensor) -> Tensor:
        count = len(self.inputs)
        each = self.components()
        repeated = z.repeat(count, *[1] * (z.ndim - 1))  # all codes under the first, under the second, ...
        log_q = each.repeat(len(z)).log_prob(repeated).view(count, len(z))
        return log_q.logsumexp(dim=0) - math.log(count)

    def draw(self, noise: Noise) -> Tensor:
        each = self.components()
        chosen = noise.categorical(each.mean.new_zeros(len(noise), len(self.inputs)))
        assert isinstance(each, DiagonalNormal)
        normal = DiagonalNormal(each.mean[chosen], each.log_variance[chosen])
        return normal.at(noise.like(normal.mean))

    def prepare(self, data: Data) -> None:
        """Pseudo-inputs start at training examples."""
        self.inputs.data.copy_(data.batch(0, len(self.inputs), seed=int(torch.randint(2**31, ()))).x)
