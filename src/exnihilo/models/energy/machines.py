"""Restricted Boltzmann machines as mathematics on tensors; what learns them is in `boltzmann.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from exnihilo.core import Noise, OptionError
from exnihilo.probability.chains import (
    Chance,
    LogEstimate,
    annealed_importance,
    annealing_schedule,
    log_mean_exp,
)

ENUMERABLE = 20  # units whose 2^n states can be summed over
ROWS = 1 << 14  # states at once


class Visible(Protocol):
    """Visible units: their own energy, and what they do when hidden units drive them by W h."""

    @property
    def bias(self) -> Tensor: ...

    def energy(self, v: Tensor) -> Tensor:
        """[B] the part of E(v, h) without h."""
        ...

    def weighted_energy(self, v: Tensor, shares: Tensor) -> Tensor:
        """sum_i shares_i energy(v_i), v [N, D] held fixed."""
        ...

    def coupling(self, weight: Tensor) -> Tensor:
        """[D, H] what v is multiplied by in its energy with the hidden units."""
        ...

    def mean(self, drive: Tensor) -> Tensor:
        """E[v | h], drive = W h [B, D]."""
        ...

    def draw(self, drive: Tensor, chance: Chance) -> Tensor:
        """v ~ p(v | h)."""
        ...

    def log_normaliser(self, drive: Tensor) -> Tensor:
        """[B] log of the sum (integral) over v of exp(-energy(v) + v . coupling(W) h), drive = W h."""
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

    def weighted_energy(self, v: Tensor, shares: Tensor) -> Tensor:
        return -torch.dot(self.bias, shares @ v)

    def coupling(self, weight: Tensor) -> Tensor:
        return weight

    def mean(self, drive: Tensor) -> Tensor:
        return (self.bias + drive).sigmoid_()

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
    """Real units: energy sum (v - a)^2 / (2 s^2), coupled as v / s, so p(v | h) = N(a + s W h, s^2)."""

    bias: Tensor  # a [D]
    log_scale: Tensor  # log s [D]

    def energy(self, v: Tensor) -> Tensor:
        return 0.5 * ((v - self.bias) / self.log_scale.exp()).square().sum(dim=1)

    def weighted_energy(self, v: Tensor, shares: Tensor) -> Tensor:
        return torch.dot(self.energy(v), shares)

    def coupling(self, weight: Tensor) -> Tensor:
        return weight / self.log_scale.exp()[:, None]

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
    """E(v, h) = visible.energy(v) - b . h - v^T W h (of real units (v / s)^T W h),  h in {0, 1}^H: no edges in a layer.

    Smolensky, 1986; Hinton, 2002, Neural Computation 14. Given one layer the other's units are independent, so a Gibbs
    sweep is two matrix products. Densities in nats, unnormalised unless they say otherwise.
    """

    visible: Visible
    weight: Tensor  # W [D, H]
    hidden_bias: Tensor  # b [H]

    def drive(self, v: Tensor) -> Tensor:
        """[B, H] W^T v, what the hidden units receive beside their bias."""
        return v @ self.visible.coupling(self.weight)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """[B] E(v, h); of independent means their expected energy."""
        return self.visible.energy(v) - h @ self.hidden_bias - (self.drive(v) * h).sum(dim=1)

    def free_energy(self, v: Tensor) -> Tensor:
        """[B] F(v) = -log sum_h exp(-E(v, h)) = visible.energy(v) - sum_j softplus(b_j + v . W_j)."""
        return self.visible.energy(v) - softplus(self.hidden_bias + self.drive(v)).sum(dim=1)

    def hidden(self, v: Tensor) -> Tensor:
        """[B, H] p(h_j = 1 | v)."""
        return torch.addmm(self.hidden_bias, v, self.visible.coupling(self.weight)).sigmoid_()

    def weighted_energy(self, v: Tensor, h: Tensor, shares: Tensor) -> Tensor:
        """sum_i shares_i E(v_i, h_i) of pairs that are held fixed, v [N, D], h [N, H].

        From the moments sum_i shares_i v_i h_i^T alone: its gradient takes no backward pass through the machine. With h
        = E[h | v] it is that of sum_i shares_i F(v_i), so with the shares of `contrast` <v h>- - <v h>+ (Hinton, 2010,
        "A practical guide"); the values differ by the entropy of p(h | v), which does not change to first order.
        """
        with torch.no_grad():
            moments, means = (v * shares[:, None]).T @ h, shares @ h
        coupled = torch.dot(self.visible.coupling(self.weight).flatten(), moments.flatten())
        return self.visible.weighted_energy(v, shares) - coupled - torch.dot(self.hidden_bias, means)

    def mean(self, h: Tensor) -> Tensor:
        """[B, D] E[v | h]."""
        return self.visible.mean(h @ self.weight.T)

    def sweep(self, v: Tensor, chance: Chance) -> Tensor:
        """One sweep of block Gibbs sampling: h ~ p(h | v), then v ~ p(v | h)."""
        return self.visible.draw(chance.bernoulli(self.hidden(v)) @ self.weight.T, chance)

    def mean_sweep(self, v: Tensor, chance: Chance) -> Tensor:
        """h ~ p(h | v), then v = E[v | h]: for grey levels, which stand for probabilities on both sides."""
        return self.mean(chance.bernoulli(self.hidden(v)))

    def annealed(self, base: Tensor, chains: int, temperatures: int, seed: int) -> LogEstimate:
        """log Z by annealed importance sampling from independent visible units of bias `base` [D], in float64.

        Salakhutdinov & Murray, 2008 (ICML); the hidden units are summed out of the weights.
        """
        path = Annealing(self.double(), base.double())
        noise = Noise(seed, chains, device=base.device)
        weights = annealed_importance(
            path.log_density, path.sweep, path.start(noise), annealing_schedule(temperatures), noise
        )
        return log_mean_exp(weights).plus(path.log_partition())

    @property
    def smaller(self) -> int:
        """Units of the smaller layer over whose states can be summed."""
        return min(self.weight.shape) if isinstance(self.visible, Bernoulli) else self.weight.shape[1]

    def log_partition(self) -> Tensor:
        """log Z [] by summing over all states of the smaller layer, in float64; differentiable.

        2^min(D, H) terms (real visible units: 2^H); an OptionError where that layer has more than 20 units.
        """
        refuse_enumeration(self.smaller)
        machine = self.double()
        size, hidden = self.weight.shape
        if size == self.smaller < hidden:
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


class Annealing:
    """The path from independent visible units of bias `base` (t = 0) to a machine (t = 1): E_t = (1 - t) E_0 + t E.

    W^T v is computed once for each state v, as two densities and a sweep ask for it.
    """

    def __init__(self, machine: Restricted, base: Tensor):
        self.machine, self.base = machine, base
        self.weight = machine.visible.coupling(machine.weight)
        self.state, self.drive = base, base  # of the last state asked for

    def visible(self, t: float) -> Visible:
        """The visible units on their own."""
        return self.machine.visible.moved((1 - t) * self.base + t * self.machine.visible.bias)

    def log_density(self, t: float, v: Tensor) -> Tensor:
        """[B] minus the free energy at t."""
        return softplus(self._hidden(t, v)).sum(dim=1) - self.visible(t).energy(v)

    def sweep(self, t: float, v: Tensor, chance: Chance) -> Tensor:
        """Block Gibbs sampling at t."""
        h = chance.bernoulli(self._hidden(t, v).sigmoid())
        return self.visible(t).draw(t * (h @ self.machine.weight.T), chance)

    def start(self, noise: Noise) -> Tensor:
        """Exact draws at t = 0."""
        return self.visible(0.0).draw(self.base.expand(len(noise), -1) * 0, noise)

    def log_partition(self) -> float:
        """log Z at t = 0."""
        free = self.visible(0.0).log_normaliser(0 * self.base[None])
        return float(free) + len(self.machine.hidden_bias) * math.log(2)

    def _hidden(self, t: float, v: Tensor) -> Tensor:
        """[B, H] log-odds of the hidden units at t."""
        if v is not self.state:
            self.state, self.drive = v, self.machine.hidden_bias + v @ self.weight
        return t * self.drive


def contrast(positive: int, negative: int, like: Tensor) -> Tensor:
    """[N + M] shares by which a sum is the mean over N examples of the data minus the mean over M of the chains."""
    return _shares(positive, negative, like.dtype, like.device)


@lru_cache(maxsize=64)  # asked for in every step
def _shares(positive: int, negative: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    data = torch.full((positive,), 1 / positive, dtype=dtype, device=device)
    return torch.cat([data, data.new_full((negative,), -1 / negative)])


def refuse_enumeration(units: int, instead: str = "method=ais") -> None:
    """An OptionError where 2^units states are more than can be summed over."""
    if units > ENUMERABLE:
        large = f"2^{units} = {2.0**units:.2g}" if units < 1000 else f"2^{units}"
        raise OptionError(
            f"A sum over all states of {units} units would have {large} terms; up to {ENUMERABLE} units"
            f" (2^{ENUMERABLE} = {1 << ENUMERABLE:,}) are summed. Use {instead}."
        )


def states(n: int, like: Tensor) -> Iterator[Tensor]:
    """All 2^n rows of n zeros and ones, some thousands at a time."""
    for start in range(0, 1 << n, ROWS):
        index = torch.arange(start, min(start + ROWS, 1 << n), device=like.device)
        yield ((index[:, None] >> torch.arange(n, device=like.device)) & 1).to(like)
