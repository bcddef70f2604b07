"""Distances between two sets of features: of their Gaussians (Frechet), of their moments up to three (kernel)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.evaluation.statistics import Gaussian
from exnihilo.probability.divergences import frechet_normal, matrix_root

#: Two-sided 95 % quantiles of Student's t for the ten blocks and twenty subsamples used below.
STUDENT = {9: 2.262157, 19: 2.093024}


def frechet(a: Gaussian, b: Gaussian, root: Tensor | None = None) -> float:
    """The squared Frechet distance of two sets of features, of their Gaussians (see `frechet_normal`).

    On features Heusel et al., 2017, arXiv:1706.08500, Eq. 6. `root` may hand in that of the first covariance. Biased
    upwards for few examples, see `frechet_bias`.
    """
    return float(frechet_normal(a.mean, a.covariance, b.mean, b.covariance, root))


def frechet_bias(covariance: Tensor, n: int, m: int) -> float:
    """What `frechet` is expected to show between n and m examples of one distribution.

    (1/n + 1/m) (sum_i l_i + (sum_ij l_i l_j / (l_i + l_j) + sum_i l_i / 2) / 2) with l the eigenvalues of the
    covariance: the second-order term of the distance. Good for n and m well above the effective rank, too small below.
    """
    values = torch.linalg.eigvalsh(covariance.double()).clamp_min(0)
    sums = values[:, None] + values[None, :]
    pairs = torch.where(sums > 0, values[:, None] * values[None, :] / sums.clamp_min(1e-300), 0.0).sum()
    return float((1 / n + 1 / m) * (values.sum() + 0.5 * (pairs + 0.5 * values.sum())))


def frechet_interval(rows: Tensor, reference: Gaussian, *, n: int | None = None, seed: int = 0) -> float:
    """Half the width of the 95 % interval of the distance of features [N, D] to a fixed reference.

    From 20 half samples drawn without replacement (Politis & Romano, 1994): their standard deviation is that of the
    whole sample, and no example is doubled - a plain bootstrap would shrink the rank and raise the distance. Where
    the rows are a fair sample of n examples, the width shrinks by sqrt(N / n).
    """
    half = len(rows) // 2
    if half < 2:
        return math.inf
    generator = torch.Generator().manual_seed(seed)
    root = matrix_root(reference.covariance)
    draws = []
    for _ in range(20):
        chosen = torch.randperm(len(rows), generator=generator)[:half]
        draws.append(frechet(reference, Gaussian.of(rows[chosen]), root))
    spread = torch.tensor(draws, dtype=torch.float64).std().item()
    return STUDENT[19] * spread * math.sqrt(len(rows) / (n or len(rows)))


def kernel_mean(x: Tensor, y: Tensor, *, same: bool = False, block: int = 2048) -> float:
    """The mean of k(x_i, y_j) = (x_i . y_j / D + 1)^3 over all pairs of [N, D] and [M, D]; `same` leaves out i = j."""
    total = 0.0
    for part in x.split(block):
        for other in y.split(block):
            total += ((part @ other.T) / x.shape[1] + 1).pow(3).sum().item()
    if not same:
        return total / (len(x) * len(y))
    diagonal = (x.square().sum(dim=1) / x.shape[1] + 1).pow(3).sum().item()
    return (total - diagonal) / (len(x) * (len(x) - 1))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j), the unbiased squared MMD.

    Gretton et al., 2012, Eq. 3, with the cubic kernel of Binkowski et al., 2018, arXiv:1801.01401, Section 4.
    [N, D], [M, D] float64, N and M at least 2. Its expectation does not depend on N or M; it can be negative.
    """
    return kernel_mean(x, x, same=True) + kernel_mean(y, y, same=True) - 2 * kernel_mean(x, y)


def kernel_interval(x: Tensor, y: Tensor, blocks: int = 10) -> float:
    """Half the width of the 95 % interval of the kernel distance, from disjoint blocks of both sets.

    The blocks are independent, so their standard deviation over sqrt(blocks) is an honest standard error; the usual
    overlapping subsets are not. Needs two examples in every block. The rows must stand in random order.
    """
    if min(len(x), len(y)) < 2 * blocks:
        return math.inf
    parts = zip(x.tensor_split(blocks), y.tensor_split(blocks), strict=True)
    draws = torch.tensor([kernel_distance(a, b) for a, b in parts], dtype=torch.float64)
    return STUDENT[9] * draws.std().item() / math.sqrt(blocks)
