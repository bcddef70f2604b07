"""How often the training looks at each time; only the product with the weighting matters for the optimum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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


class LossAware(nn.Module):
    """Levels i with a chance p_i ~ sqrt(E[L_i^2]) of what they cost in the bound, so that estimates of it vary least.

    Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 18. The mean is over the last 10 costs of each level; until all have
    10, every level has the same chance, and a share of 0.001 is always even. Costs weigh 1 / (T p_i), so that nothing
    is biased.
    """

    costs: Tensor
    seen: Tensor

    def __init__(self, levels: int, kept: int = 10, even: float = 1e-3):
        super().__init__()
        self.even = even
        self.register_buffer("costs", torch.ones(levels, kept), persistent=False)
        self.register_buffer("seen", torch.zeros(levels, dtype=torch.long), persistent=False)

    def chances(self) -> Tensor:
        """[T] p_i of i = 1 ... T, in float64."""
        root = self.costs.double().square().mean(dim=1).sqrt()
        root = torch.where((self.seen >= self.costs.shape[1]).all(), root, torch.ones_like(root))
        return (1 - self.even) * root / root.sum() + self.even / len(root)

    def forward(self, n: int, device: torch.device) -> Tensor:
        place = stratified(n, device).double()
        levels = len(self.seen)
        return (torch.searchsorted(self.chances().cumsum(dim=0), place).clamp(max=levels - 1) + 1).float() / levels

    def weight(self, index: Tensor) -> Tensor:
        """1 / (T p_i) of levels [B] from 1 to T."""
        return (1 / (len(self.seen) * self.chances()[index - 1])).float()

    def record(self, index: Tensor, costs: Tensor) -> None:
        """What levels [B] cost; of two examples at one level one is remembered."""
        row = index - 1
        self.costs[row, self.seen[row] % self.costs.shape[1]] = costs.to(self.costs)
        self.seen[row] = self.seen[row] + 1
