"""What is done to an example before an autoencoder has to restore it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.probability.chains import Chance

#: x~ ~ C(x~ | x), shaped as x [B, ...]; chance is torch's generator in training, a stream per sample in a chain.
Corruption = Callable[[Tensor, Chance], Tensor]


@dataclass(frozen=True)
class GaussianNoise:
    """x~ = x + sigma * epsilon, never clipped: what is restored is then x~ + sigma^2 score (see `denoising.py`)."""

    sigma: float

    def __call__(self, x: Tensor, chance: Chance) -> Tensor:
        return x + self.sigma * chance.like(x)


@dataclass(frozen=True)
class Masking:
    """A share of the entries, chosen anew each time, becomes `blank` (Vincent et al., 2010, JMLR 11, section 3.3).

    The others are not scaled up, as dropout would do.
    """

    share: float
    blank: float = 0.0

    def __call__(self, x: Tensor, chance: Chance) -> Tensor:
        hit = chance.bernoulli(torch.full_like(x, self.share)) > 0
        return torch.where(hit, self.blank, x)


@dataclass(frozen=True)
class SaltAndPepper:
    """A share of the entries becomes the least or the greatest value by a fair coin (Vincent et al., 2010)."""

    share: float
    low: float
    high: float = 1.0

    def __call__(self, x: Tensor, chance: Chance) -> Tensor:
        hit = chance.bernoulli(torch.full_like(x, self.share)) > 0
        coin = chance.bernoulli(torch.full_like(x, 0.5)) > 0
        extreme = torch.where(coin, self.high, self.low).to(x)
        return torch.where(hit, extreme, x)
