"""What a flow turns the data into: distributions of the base variable u."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from exnihilo.core import Noise
from exnihilo.probability.likelihoods import logistic_draw


class Base(nn.Module):
    """A distribution with an exact density and a sampler."""

    def log_prob(self, u: Tensor) -> Tensor:
        """[B] nats, summed over the entries of u [B, *shape]."""
        raise NotImplementedError

    def draw(self, noise: Noise, temperature: float) -> Tensor:
        """[len(noise), *shape]; temperature scales the standard deviation."""
        raise NotImplementedError


class StandardNormal(Base):
    """log p(u) = -(u^2 + log 2 pi) / 2, summed; computed in the precision of u."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)
        self.constant = 0.5 * math.prod(shape) * math.log(2 * math.pi)

    def log_prob(self, u: Tensor) -> Tensor:
        return -0.5 * u.flatten(1).square().sum(dim=1) - self.constant

    def draw(self, noise: Noise, temperature: float) -> Tensor:
        return noise.normal(*self.shape) * temperature


class StandardLogistic(Base):
    """log p(u) = logsigmoid(u) + logsigmoid(-u), summed: heavier tails than the normal's.

    Dinh et al., 2015, arXiv:1410.8516, section 3.4. Caution: its standard deviation is pi / sqrt(3)
    times the `temperature`.
    """

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(shape)

    def log_prob(self, u: Tensor) -> Tensor:
        return (logsigmoid(u) + logsigmoid(-u)).flatten(1).sum(dim=1)

    def draw(self, noise: Noise, temperature: float) -> Tensor:
        location = torch.zeros(len(noise), *self.shape, device=noise.device)
        return logistic_draw(location, torch.full_like(location, temperature), noise)
