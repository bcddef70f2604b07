"""How often the training looks at each time; only the product with the weighting matters for the optimum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: How many, on which device -> t [n] in (0, 1]. From torch's generator: call in a seeded scope.
Times = Callable[[int, torch.device], Tensor]


def stratified(n: int, device: torch.device) -> Tensor:
    """[n] uniform on (0, 1), one in each n-th of it, in random order: the loss varies less from batch to batch.

    Each alone is uniform, so nothing is biased (Kingma et al., 2021, arXiv:2107.00630, appendix I.1 in another form).
    """
    return (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n


def discrete(levels: int) -> Times:
    """t = i / levels with i uniform on 1 ... levels (Ho et al., 2020, arXiv:2006.11239, Algorithm 1)."""

    def times(n: int, device: torch.device) -> Tensor:
        return ((stratified(n, device) * levels).floor().clamp(max=levels - 1) + 1) / levels

    return times


def logit_normal(mean: float = 0.0, spread: float = 1.0) -> Times:
    """t = sigmoid(mean + spread * N(0, 1)): mostly the middle, where most is left to be learned.

    Esser et al., 2024, arXiv:2403.03206, Eq. 19; mean 0, spread 1 was best there.
    """

    def times(n: int, device: torch.device) -> Tensor:
        return torch.sigmoid(mean + spread * torch.special.ndtri(stratified(n, device)))

    return times


def log_normal(mean: float = -1.2, spread: float = 1.2, high: float = 80.0) -> Times:
    """log sigma ~ N(mean, spread^2) where sigma = high * t (Karras et al., 2022, arXiv:2206.00364, Table 1)."""

    def times(n: int, device: torch.device) -> Tensor:
        return ((mean + spread * torch.special.ndtri(stratified(n, device))).exp() / high).clamp(max=1.0)

    return times


def from_least(least: float) -> Times:
    """Uniform on [least, 1]: score models stop short of the data, where the score is unbounded."""
    return lambda n, device: least + (1 - least) * stratified(n, device)
