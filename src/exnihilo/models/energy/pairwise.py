"""Binary units that are all connected to each other, as mathematics; the learning of them is in `general.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from exnihilo.core import Noise
from exnihilo.models.energy.machines import refuse_enumeration, states
from exnihilo.probability.chains import (
    Chance,
    Kernel,
    LogEstimate,
    annealed_importance,
    annealing_schedule,
    log_mean_exp,
    single_sites,
)


@dataclass(frozen=True)
class Pairwise:
    """E(x) = -x^T W x / 2 - b . x,  x in {0, 1}^n, W symmetric with an empty diagonal.

    Ackley, Hinton & Sejnowski, 1985, Cognitive Science 9. Densities in nats, unnormalised unless they say
    otherwise. Units are updated one after the other, so a sweep takes n small steps.
    """

    weight: Tensor  # W [n, n]
    bias: Tensor  # b [n]

    @classmethod
    def of_spins(cls, weight: Tensor, bias: Tensor) -> tuple[Pairwise, float]:
        """The machine of spins s = 2 x - 1 with E(s) = -s^T W s / 2 - b . s, and c such that E(s) = E(x) + c."""
        machine = cls(4 * weight, 2 * (bias - weight.sum(dim=1)))
        return machine, float(bias.double().sum() - weight.double().sum() / 2)

    def energy(self, x: Tensor) -> Tensor:
        """[B] E(x); of independent means their expected energy."""
        return -0.5 * ((x @ self.weight) * x).sum(dim=1) - x @ self.bias

    def log_odds(self, x: Tensor, i: int) -> Tensor:
        """[B] log p(x_i = 1 | x_-i) / p(x_i = 0 | x_-i)."""
        return x @ self.weight[i] + self.bias[i]

    def means(self, x: Tensor) -> Tensor:
        """[B, n] p(x_i = 1 | x_-i) for every i."""
        return torch.addmm(self.bias, x, self.weight).sigmoid()

    def sweep(self, mask: Tensor | None = None) -> Kernel:
        """Gibbs sampling of every unit in turn; those where mask [B, n] is True keep their values."""
        return single_sites(self.log_odds, mask)

    def mean_field(self, start: Tensor, mask: Tensor | None = None, *, iterations: int = 30) -> Tensor:
        """[B, n] means m = sigma(W m + b), those where mask is True held at start: naive mean field, damped by half.

        Peterson & Anderson, 1987, Complex Systems 1. Caution: of several solutions it finds the one near the start.
        """
        m = start
        for _ in range(iterations):
            moved = 0.5 * m + 0.5 * self.means(m)
            m = moved if mask is None else torch.where(mask, start, moved)
        return m

    def pseudo_log_prob(self, x: Tensor) -> Tensor:
        """[B] sum_i log p(x_i | x_-i), normalised without log Z (Besag, 1975, The Statistician 24)."""
        return logsigmoid((2 * x - 1) * torch.addmm(self.bias, x, self.weight)).sum(dim=1)

    def log_partition(self) -> Tensor:
        """log Z [] over all 2^n states, in float64; differentiable. An OptionError for more than 20 units."""
        refuse_enumeration(len(self.bias))
        machine = self.double()
        parts = [(-machine.energy(x)).logsumexp(dim=0) for x in states(len(self.bias), machine.bias)]
        return torch.stack(parts).logsumexp(dim=0)

    def moments(self) -> tuple[Tensor, Tensor]:
        """(E[x] [n], E[x x^T] [n, n]) over all 2^n states, in float64."""
        machine, log_z = self.double(), self.log_partition()
        mean, second = torch.zeros_like(machine.bias), torch.zeros_like(machine.weight)
        for x in states(len(self.bias), machine.bias):
            p = (-machine.energy(x) - log_z).exp()
            mean, second = mean + p @ x, second + (x * p[:, None]).T @ x
        return mean, second

    def tempered(self, t: float, base: Tensor) -> Pairwise:
        """The machine on the way from independent units of bias `base` [n] (t = 0) to this one (t = 1)."""
        return Pairwise(t * self.weight, (1 - t) * base + t * self.bias)

    def annealed(self, base: Tensor, chains: int, temperatures: int, seed: int) -> LogEstimate:
        """log Z by annealed importance sampling from independent units of bias `base` [n], in float64."""
        machine, base = self.double(), base.double()
        noise = Noise(seed, chains, device=base.device)

        def kernel(t: float, x: Tensor, chance: Chance) -> Tensor:
            return machine.tempered(t, base).sweep()(x, chance)

        weights = annealed_importance(
            lambda t, x: -machine.tempered(t, base).energy(x),
            kernel,
            noise.bernoulli(base.sigmoid().expand(chains, -1)),
            annealing_schedule(temperatures),
            noise,
        )
        return log_mean_exp(weights).plus(float(softplus(base).sum()))

    def double(self) -> Pairwise:
        """The same machine in float64."""
        return Pairwise(self.weight.double(), self.bias.double())


def settle(weight: Tensor, s: Tensor, mask: Tensor | None = None, *, sweeps: int = 100) -> Tensor:
    """Spins s [B, n] that follow s_i <- sign((W s)_i) one after the other until none turns.

    Hopfield, 1982, PNAS 79: no step raises the energy, so they come to rest; a spin without a force stays. mask: True
    where a spin is held.
    """
    s = s.clone()
    for _ in range(sweeps):
        before = s.clone()
        for i in range(s.shape[1]):
            force = s @ weight[i]
            turned = torch.where(force == 0, s[:, i], force.sign())
            s[:, i] = turned if mask is None else torch.where(mask[:, i], s[:, i], turned)
        if torch.equal(s, before):
            break
    return s
