"""Divergences between distributions in closed form, elementwise, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kl_normal(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor | float = 0.0, other_log_variance: Tensor | float = 0.0
) -> Tensor:
    """KL(N(m, v) || N(n, w)) = (log w - log v + (v + (m - n)^2) / w - 1) / 2 of every entry; N(0, 1) by default.

    Kingma & Welling, 2014, arXiv:1312.6114, appendix B. Sum over the entries of a code, never average: a mean
    would weigh the divergence down by their number.
    """
    ratio = log_variance - other_log_variance
    distance = (mean - other_mean).square() * torch.exp(-torch.as_tensor(other_log_variance).to(mean))
    return 0.5 * (ratio.exp() + distance - 1 - ratio)


def kl_categorical(logits: Tensor, other_logits: Tensor | None = None) -> Tensor:
    """KL(p || r) = sum_k p_k (log p_k - log r_k): [..., K] -> [...]; against the uniform distribution by default."""
    log_p = logits.log_softmax(dim=-1)
    log_r = -math.log(logits.shape[-1]) if other_logits is None else other_logits.log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_r)).sum(dim=-1)


def kl_bernoulli(probability: Tensor | float, other: Tensor) -> Tensor:
    """KL(B(p) || B(r)) = p log(p / r) + (1 - p) log((1 - p) / (1 - r)) of every entry; r strictly between 0 and 1."""
    p = torch.as_tensor(probability).to(other)
    some, rest = p.clamp(min=1e-30), (1 - p).clamp(min=1e-30)  # of p = 0 or 1 too the slope towards r is finite
    return torch.xlogy(p, some / other) + torch.xlogy(1 - p, rest / (1 - other))


def matrix_root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a covariance [D, D]; eigenvalues that rounding made negative count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet_normal(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor, root: Tensor | None = None
) -> Tensor:
    """|m - n|^2 + tr A + tr B - 2 tr (A B)^(1/2): the squared Frechet (2-Wasserstein) distance of N(m, A) and N(n, B).

    Dowson & Landau, 1982, Eq. 4. [D] means, [D, D] covariances, float64 for good digits. The last trace is the sum of
    the roots of the eigenvalues of R B R with R = A^(1/2), which is symmetric: no complex numbers, no jitter, and
    exact for singular covariances. `root` may hand in R.
    """
    root = matrix_root(covariance) if root is None else root
    product = root @ other_covariance @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    shift = (mean - other_mean).square().sum()
    return (shift + covariance.trace() + other_covariance.trace() - 2 * overlap).clamp_min(0)
