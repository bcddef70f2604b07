"""Does a model make new examples, or does it hand the training examples out again?"""

from __future__ import annotations

import torch
from torch import Tensor

#: Below this distance ratio (upper end of its interval) a model may copy. Fresh data have 1; a kernel density of
#: bandwidth 0.05 / 0.1 / 0.2 on `digits` has 0.22 / 0.34 / 0.62, honest models 0.97 to 1.6. But blurred or collapsed
#: samples lie near everything, so that a copier must prefer training examples to unseen ones too.
COPYING = 0.9

#: Below this preference ratio (upper end) it does. Fresh data have 1; those kernel densities 0.22 / 0.33 / 0.57, the
#: one of the best bandwidth 0.72; grey collapsed pictures on 300 photographs 0.71, an honest mixture 1.02.
PREFERRING = 0.7


def nearest(queries: Tensor, points: Tensor, block: int = 512, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """[Q] the Euclidean distance of every query [Q, ...] to the nearest point [N, ...], and that point's number.

    The winner is found by the fast matrix form and its distance computed anew, so that copies have distance 0.
    `others`: the queries are the points, and none is its own neighbour.
    """
    flat = points.flatten(1).float()
    norms = flat.square().sum(dim=1)
    distance, index = [], []
    for place, part in enumerate(queries.flatten(1).float().split(block)):
        squares = norms - 2 * part @ flat.T
        if others:
            squares.diagonal(place * block).fill_(torch.inf)
        chosen = squares.argmin(dim=1)
        index.append(chosen)
        distance.append((part - flat[chosen]).double().norm(dim=1))
    return torch.cat(distance), torch.cat(index)


def distance_ratio(samples: Tensor, fresh: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """The median distance of samples to their nearest training example, over that of test examples; low, high.

    samples [M], fresh [N] distances. 1 = like fresh data, far below 1 = copying, above 1 = farther from the data than
    data are, so noisy or novel. The interval resamples both sets 400 times (medians allow it).
    """
    value = _ratio(samples.median(), fresh.median())
    generator = torch.Generator().manual_seed(seed)

    def medians(distance: Tensor) -> Tensor:
        draws = [torch.randint(len(distance), (len(distance),), generator=generator) for _ in range(400)]
        return torch.stack([distance[chosen].median() for chosen in draws])

    ratios = medians(samples) / medians(fresh).clamp_min(1e-12)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=ratios.dtype)).tolist()
    return value, min(low, value), max(high, value)


def preference(seen: Tensor, unseen: Tensor) -> Tensor:
    """How many times as far the nearest training example is as the nearest unseen one, both [N] distances.

    Copies have 0 and samples that are merely blurred, so near to everything, about 1. Equal points count as 1.
    """
    return torch.where(seen == unseen, 1.0, seen / unseen.clamp_min(1e-12)).clamp_max(1e6)


def _ratio(samples: Tensor, fresh: Tensor) -> float:
    if fresh <= 0:  # data that repeat themselves: copies are what fresh data are
        return 1.0 if samples <= 0 else float("inf")
    return float(samples / fresh)


def closer(samples: Tensor, fresh: Tensor) -> float:
    """The chance that a sample lies nearer to the training set than a fresh example does; ties count half.

    Mann & Whitney's U over its maximum, the statistic of the copying test of Meehan et al., 2020, arXiv:2004.05675.
    samples [M], fresh [N] distances; 0.5 = like fresh data, 1 = copies.
    """
    order = fresh.sort().values
    farther = len(order) - torch.searchsorted(order, samples, right=True)
    equal = torch.searchsorted(order, samples, right=True) - torch.searchsorted(order, samples)
    return ((farther + 0.5 * equal).double().mean() / len(order)).item()


def copies(ratio_high: float, preference_high: float) -> bool:
    """Whether a model is flagged as a copier, by the upper ends of two ratios: its samples lie nearer to the training
    examples than fresh data do, and prefer them to unseen examples more than fresh data do."""
    return ratio_high < COPYING and preference_high < PREFERRING
