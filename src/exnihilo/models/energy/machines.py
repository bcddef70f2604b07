"""Restricted Boltzmann machines as mathematics on tensors; what learns them is in `boltzmann.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from exnihilo.probability.chains import Chance

ENUMERABLE = 20  # units whose 2^n states can be summed over
ROWS = 1 << 14  # states at once


class Visible(Protocol):
    """Visible units: their own energy, and what they do when hidden units drive them by W h."""

    @property
    def bias(self) -> Tensor: ...

    def energy(self, v: Tensor) -> Tensor:
        """[B] the part of E(v, h) without h."""
        ...

    def signal(self, v: Tensor) -> Tensor:
        """What the hidden units receive: [B, D]."""
        ...

    def mean(self, drive: Tensor) -> Tensor:
        """E[v | h], drive = W h [B, D]."""
        ...

    def draw(self, drive: Tensor, chance: Chance) -> Tensor:
        """v ~ p(v | h)."""
        ...

    def log_normaliser(self, drive: Tensor) -> Tensor:
        """[B] log of the sum (integral) over v of exp(-energy(v) + signal(v) . drive)."""
        ...

    def moved(self, bias: Tensor) -> Visible:
        """The same units with another bias."""
        ...

    def double(self) -> Visible:
        """The same units in float64."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """Units 0 or 1: energy -a . v. Entries between 0 and 1 are taken as probabilities of being 1."""

    bias: Tensor  # a [D]

    def energy(self, v: Tensor) -> Tensor:
        return -(v @ self.bias)

    def signal(self, v: Tensor) -> Tensor:
        return v

    def mean(self, drive: Tensor) -> Tensor:
        return (self.bias + drive).sigmoid()

    def draw(self, drive: Tensor, chance: Chance) -> Tensor:
        return chance.bernoulli(self.mean(drive))

    def log_normaliser(self, drive: Tensor) -> Tensor:
        return softplus(self.bias + drive).sum(dim=1)

    def moved(self, bias: Tensor) -> Bernoulli:
        return Bernoulli(bias)

    def double(self) -> Bernoulli:
        return Bernoulli(self.bias.double())


@dataclass(frozen=True)
class Gaussian:
    """Real units: energy sum (v - a)^2 / (2 s^2), signal v / s, so p(v | h) = N(a + s W h, s^2)."""

    bias: Tensor  # a [D]
    log_scale: Tensor  # log s [D]

    def energy(self, v: Tensor) -> Tensor:
        return 0.5 * ((v - self.bias) / self.log_scale.exp()).square().sum(dim=1)

    def signal(self, v: Tensor) -> Tensor:
        return v / self.log_scale.exp()

    def mean(self, drive: Tensor) -> Tensor:
        return self.bias + self.log_scale.exp() * drive

    def draw(self, drive: Tensor, chance: Chance) -> Tensor:
        mean = self.mean(drive)
        return mean + self.log_scale.exp() * chance.like(mean)

    def log_normaliser(self, drive: Tensor) -> Tensor:
        shift = self.bias / self.log_scale.exp() * drive + 0.5 * drive.square()
        return (shift + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(dim=1)

    def moved(self, bias: Tensor) -> Gaussian:
        return Gaussian(bias, self.log_scale)

    def double(self) -> Gaussian:
        return Gaussian(self.bias.double(), self.log_scale.double())


@dataclass(frozen=True)
class Restricted:
    """E(v, h) = visible.energy(v) - b . h - signal(v)^T W h,  h in {0, 1}^H: no edges within a layer.

    Smolensky, 1986; Hinton, 2002, Neural Computation 14. Given one layer the other's units are independent, so a Gibbs
    sweep is two matrix products. Densities in nats, unnormalised unless they say otherwise.
    """

    visible: Visible
    weight: Tensor  # W [D, H]
    hidden_bias: Tensor  # b [H]

    def free_energy(self, v: Tensor) -> Tensor:
        """[B] F(v) = -log sum_h exp(-E(v, h)) = visible.energy(v) - sum_j softplus(b_j + signal(v) . W_j)."""
        drive = torch.addmm(self.hidden_bias, self.visible.signal(v), self.weight)
        return self.visible.energy(v) - softplus(drive).sum(dim=1)

    def hidden(self, v: Tensor) -> Tensor:
        """[B, H] p(h_j = 1 | v)."""
        return torch.addmm(self.hidden_bias, self.visible.signal(v), self.weight).sigmoid()

    def mean(self, h: Tensor) -> Tensor:
        """[B, D] E[v | h]."""
        return self.visible.mean(h @ self.weight.T)

    def sweep(self, v: Tensor, chance: Chance) -> Tensor:
        """One sweep of block Gibbs sampling: h ~ p(h | v), then v ~ p(v | h)."""
        return self.visible.draw(chance.bernoulli(self.hidden(v)) @ self.weight.T, chance)

    def mean_sweep(self, v: Tensor, chance: Chance) -> Tensor:
        """h ~ p(h | v), then v = E[v | h]: for grey levels, which stand for probabilities on both sides."""
        return self.mean(chance.bernoulli(self.hidden(v)))

    def tempered(self, t: float, base: Tensor) -> Restricted:
        """The machine on the way from independent visible units of bias `base` [D] (t = 0) to this one (t = 1)."""
        bias = (1 - t) * base + t * self.visible.bias
        return replace(self, visible=self.visible.moved(bias), weight=t * self.weight, hidden_bias=t * self.hidden_bias)

    def base_log_partition(self, base: Tensor) -> float:
        """log Z of `tempered(0, base)`, where nothing is connected."""
        free = self.visible.moved(base).log_normaliser(self.weight.new_zeros(1, len(base)))
        return float(free) + len(self.hidden_bias) * math.log(2)

    def log_partition(self) -> Tensor:
        """log Z [] by summing over all states of the smaller layer, in float64; differentiable.

        Caution: 2^min(D, H) terms (real visible units: 2^H), so for at most some 20 units.
        """
        machine = self.double()
        size, hidden = self.weight.shape
        if isinstance(self.visible, Bernoulli) and size < hidden:
            parts = [-machine.free_energy(v) for v in states(size, machine.weight)]
        else:
            parts = [
                h @ machine.hidden_bias + machine.visible.log_normaliser(h @ machine.weight.T)
                for h in states(hidden, machine.weight)
            ]
        return torch.stack([part.logsumexp(dim=0) for part in parts]).logsumexp(dim=0)

    def double(self) -> Restricted:
        """The same machine in float64."""
        return Restricted(self.visible.double(), self.weight.double(), self.hidden_bias.double())


def states(n: int, like: Tensor) -> Iterator[Tensor]:
    """All 2^n rows of n zeros and ones, some thousands at a time."""
    for start in range(0, 1 << n, ROWS):
        index = torch.arange(start, min(start + ROWS, 1 << n), device=like.device)
        yield ((index[:, None] >> torch.arange(n, device=like.device)) & 1).to(like)
