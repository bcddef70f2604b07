"""Fidelity and diversity told apart: precision and recall, density and coverage, and the classes that are reached."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """[N, M] Euclidean distances without the cancellation of |x|^2 - 2 x y + |y|^2, so equal points are 0 apart."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def radii(points: Tensor, k: int, block: int = 512) -> Tensor:
    """[N] the distance of every point [N, D] to its k-th nearest neighbour, itself left out."""
    k = min(k, len(points) - 1)
    parts = [_distances(part, points).kthvalue(k + 1, dim=1).values for part in points.split(block)]
    return torch.cat(parts)


def inside(queries: Tensor, points: Tensor, radius: Tensor, *, strict: bool = False, block: int = 512) -> Tensor:
    """[Q] how many balls, of `radius` [N] around `points` [N, D], every query [Q, D] lies in (`strict`: not on)."""
    counts = []
    for part in queries.split(block):
        distance = _distances(part, points)
        counts.append(((distance < radius) if strict else (distance <= radius)).sum(dim=1))
    return torch.cat(counts)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """The share of samples inside the data's manifold, and the share of data inside the samples'.

    Kynkaanniemi et al., 2019, arXiv:1904.06991, Eq. 2: a manifold is the union of balls that reach each point's k-th
    neighbour, boundary included. real [N, D], fake [M, D]; figures of different N, M or k are not comparable.
    Precision is fidelity, recall diversity - a generator stuck on one real example has precision 1 and recall 0.
    """
    precision = (inside(fake, real, radii(real, k)) > 0).double().mean().item()
    recall = (inside(real, fake, radii(fake, k)) > 0).double().mean().item()
    return precision, recall


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """How densely samples fill the balls around the data, and the share of these balls that hold a sample.

    Naeem et al., 2020, arXiv:2002.09797, Eq. 2-3, with the strict inequality of its authors' code: density is the
    mean number of balls a sample lies in, over k (1 for fresh data; can exceed 1), coverage counts balls reached.
    Less sensitive to outliers than precision and recall, as all balls are the data's own.
    """
    radius = radii(real, k)
    density = inside(fake, real, radius, strict=True).double().mean().item() / min(k, len(real) - 1)
    nearest = torch.cat([_distances(part, fake).min(dim=1).values for part in real.split(512)])
    return density, (nearest < radius).double().mean().item()


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """The coverage of m fresh examples of the data's own distribution: 1 - prod_{i=1..k} (n - i) / (n + m - i).

    What "complete" looks like at these counts; it tends to 1 - 2^-k for n = m, not to 1.
    """
    return 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share among n (Wilson, 1927); stays within [0, 1] and is not empty at 0 or 1."""
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(share * (1 - share), 0.0) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def class_shares(label: Tensor, classes: int) -> Tensor:
    """[classes] the share of every class among labels [N]; unknown labels (-1) are left out."""
    known = label[label >= 0]
    return torch.bincount(known, minlength=classes).double() / max(len(known), 1)


def modes(shares: Tensor, reference: Tensor) -> int:
    """Classes that are reached: those with at least a tenth of their share in the data, [classes] each.

    A mere single sample does not count: the errors of whoever names the classes would find every one of them.
    """
    return int(((reference > 0) & (shares >= reference / 10)).sum())


def share_distance(shares: Tensor, reference: Tensor) -> float:
    """Half the sum of absolute differences (total variation): the share of samples that are of the wrong class."""
    return 0.5 * (shares - reference).abs().sum().item()
