"""Normal distributions and their mixtures, as plain tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import Noise


def normal_log_prob(x: Tensor, mean: Tensor | float = 0.0, log_variance: Tensor | float = 0.0) -> Tensor:
    """log N(x; m, v) of every entry, in nats; N(0, 1) by default."""
    spread = torch.as_tensor(log_variance).to(x)
    return -0.5 * ((x - mean).square() * torch.exp(-spread) + spread + math.log(2 * math.pi))


@dataclass(frozen=True)
class DiagonalNormal:
    """N(mean, diag exp(log_variance)) over [B, *event]."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> DiagonalNormal:
        """From a network's output [B, 2, *event]: means, then log-variances, kept within [-10, 10]."""
        mean, log_variance = parameters.unbind(dim=1)
        return cls(mean, log_variance.clamp(-10, 10))

    def sample(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """z = mean + sigma * epsilon and log q(z) [B], with epsilon standard normal, shaped as the mean.

        Gradients reach the parameters through z (Kingma & Welling, 2014, arXiv:1312.6114, section 2.4).
        """
        z = self.at(epsilon)
        return z, self.log_prob(z)

    def at(self, epsilon: Tensor) -> Tensor:
        """z = mean + sigma * epsilon, where its density is not needed."""
        return self.mean + torch.exp(0.5 * self.log_variance) * epsilon

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        return normal_log_prob(z, self.mean, self.log_variance).flatten(1).sum(dim=1)

    def detach(self) -> DiagonalNormal:
        """The same distribution, through whose parameters no gradient passes."""
        return DiagonalNormal(self.mean.detach(), self.log_variance.detach())

    def repeat(self, n: int) -> DiagonalNormal:
        """Every distribution n times in a row: batch [B] -> [B * n]."""
        return DiagonalNormal(self.mean.repeat_interleave(n, dim=0), self.log_variance.repeat_interleave(n, dim=0))


@dataclass(frozen=True)
class GaussianMixture:
    """p(x) = sum_k w_k N(x; m_k, L_k L_k^T) over vectors; log w [K], means [K, D].

    `factors` are lower triangular [K, D, D], one for all components [1, D, D], or - of diagonal covariances - the
    standard deviations [K, D].
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    @property
    def diagonal(self) -> bool:
        """Whether the entries of a component are independent."""
        return self.factors.ndim == 2

    def component_log_prob(self, x: Tensor) -> Tensor:
        """log w_k + log N(x; m_k, L_k L_k^T): [B, D] -> [B, K]."""
        offset = x[:, None] - self.means  # [B, K, D]
        if self.diagonal:
            distance = (offset / self.factors).square().sum(dim=2)
            log_det = self.factors.log().sum(dim=1)
        else:
            white = torch.linalg.solve_triangular(self.factors, offset.permute(1, 2, 0), upper=False)  # [K, D, B]
            distance = white.square().sum(dim=1).T
            log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return self.log_weights - 0.5 * distance - log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)

    def log_prob(self, x: Tensor) -> Tensor:
        """[B] in nats."""
        return self.component_log_prob(x).logsumexp(dim=1)

    def draw(self, noise: Noise) -> Tensor:
        """[len(noise), D]; every sample picks its component from its own stream, so they come in no order."""
        component = noise.categorical(self.log_weights.expand(len(noise), -1))
        epsilon = noise.normal(self.means.shape[1], dtype=self.means.dtype)
        return self._place(component, epsilon, self.means[component], self.factors)

    def condition(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The distribution of the entries where `observed` [D] is False, given the others of x [B, D].

        (log-weights [B, K], means [B, K, M], factors [K or 1, M, M] or [K, M]); Bishop, 2006, Eq. 2.81-2.82 of every
        component, whose weight is multiplied by its density of what is observed.
        """
        seen, hidden = observed.nonzero()[:, 0], (~observed).nonzero()[:, 0]
        offset = x[:, None, seen] - self.means[:, seen]  # [B, K, O]
        if self.diagonal:
            known = GaussianMixture(self.log_weights, self.means[:, seen], self.factors[:, seen])
            means = self.means[:, hidden].expand(len(x), -1, -1)
            return known.component_log_prob(x[:, seen]).log_softmax(dim=1), means, self.factors[:, hidden]
        covariance = self.factors @ self.factors.mT
        rows = covariance[:, seen]
        factor = torch.linalg.cholesky(rows[:, :, seen])  # [K, O, O]
        white = torch.linalg.solve_triangular(factor, rows[:, :, hidden], upper=False)  # [K, O, M]
        whitened = torch.linalg.solve_triangular(factor, offset.permute(1, 2, 0), upper=False)  # [K, O, B]
        means = self.means[:, hidden] + (white.mT @ whitened).permute(2, 0, 1)
        rest = covariance[:, hidden][:, :, hidden] - white.mT @ white
        known = GaussianMixture(self.log_weights, self.means[:, seen], factor)
        log_weights = known.component_log_prob(x[:, seen]).log_softmax(dim=1)
        return log_weights, means, torch.linalg.cholesky(0.5 * (rest + rest.mT))

    def impute(self, x: Tensor, mask: Tensor, noise: Noise) -> Tensor:
        """x [B, D] with the entries where mask is False drawn from their exact conditional distribution."""
        uniform = noise.uniform(dtype=x.dtype)
        epsilon = noise.normal(x.shape[1], dtype=x.dtype)
        filled = x.clone()
        patterns, pattern_of = mask.unique(dim=0, return_inverse=True)
        for number, observed in enumerate(patterns):
            if observed.all():
                continue
            rows, hidden = (pattern_of == number).nonzero()[:, 0], ~observed
            logits, means, factors = self.condition(x[rows], observed)
            heap = logits.exp().cumsum(dim=1)
            component = (uniform[rows, None] * heap[:, -1:] >= heap[:, :-1]).sum(dim=1)
            chosen = means[torch.arange(len(rows), device=x.device), component]
            drawn = self._place(component, epsilon[rows][:, hidden], chosen, factors)
            filled[rows[:, None], hidden.nonzero()[:, 0]] = drawn
        return filled

    @staticmethod
    def _place(component: Tensor, epsilon: Tensor, means: Tensor, factors: Tensor) -> Tensor:
        """means + L_k epsilon, row by row; component by component, because a factor per row would fill the memory.

        An accelerator multiplies all rows by every factor: to gather a component's rows it would have to be waited for.
        """
        if factors.ndim == 2:
            return means + factors[component] * epsilon
        if len(factors) == 1:
            return means + epsilon @ factors[0].mT
        x = means.clone()
        for k, factor in enumerate(factors):
            rows = component == k
            if rows.is_cpu:
                x[rows] += epsilon[rows] @ factor.mT
            else:
                x += rows[:, None] * (epsilon @ factor.mT)
        return x
