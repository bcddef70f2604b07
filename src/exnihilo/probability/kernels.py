"""Markov chains that follow the slope of a density: Langevin, Metropolis-adjusted Langevin, Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from exnihilo.probability.chains import Chance, clamped, run_chain

#: x [B, ...] -> [B] minus the log-density in nats, up to a constant; every row on its own.
Energy = Callable[[Tensor], Tensor]
#: x [B, ...] -> the gradient of the log-density at x, shaped as x.
Score = Callable[[Tensor], Tensor]


def slope(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """(E(x) [B], grad E(x) shaped as x), also where gradients are off; none reaches parameters."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = energy(point)
        return value.detach(), torch.autograd.grad(value.sum(), point)[0]


def score_of(energy: Energy) -> Score:
    """x -> -grad E(x)."""
    return lambda x: -slope(energy, x)[1]


def shortened(score: Score, longest: float) -> Score:
    """The score, no longer than `longest` in any row: far from the density a Langevin chain then does not run away.

    Roberts & Tweedie, 1996, Bernoulli 2(4) (truncated drift).
    """

    def short(x: Tensor) -> Tensor:
        full = score(x)
        length = full.flatten(1).norm(dim=1).clamp(min=1e-12)
        return full * per_row((longest / length).clamp(max=1.0), x)

    return short


def per_row(number: float | Tensor, x: Tensor) -> float | Tensor:
    """A number, or one for each row [B] as [B, 1, ...], to be multiplied with x [B, ...]."""
    return number.view(-1, *[1] * (x.ndim - 1)) if isinstance(number, Tensor) and number.ndim else number


@dataclass(frozen=True)
class Langevin:
    """x' = x + (step / 2) score(x) + sqrt(step) z,  z ~ N(0, I): one step of the unadjusted Langevin algorithm.

    Roberts & Tweedie, 1996, Bernoulli 2(4). step: a number, or one for each row [B]. Caution: it leaves
    the density only nearly as it is. N(0, 1) becomes N(0, 1 / (1 - step / 4)), and for step >= 4 / (largest curvature
    of the energy) the chain runs away.
    """

    score: Score
    step: float | Tensor

    def __call__(self, x: Tensor, chance: Chance) -> Tensor:
        step = per_row(self.step, x)
        return x + step / 2 * self.score(x) + step**0.5 * chance.like(x)


@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo: momenta p ~ N(0, I), then `leaps` of length `step` that nearly keep H = E + |p|^2 / 2.

    Neal, 2011, arXiv:1206.1901: the end is taken with probability min(1, exp(H before - H
    after)), so exp(-E) stays exactly as it is; near 0.65 of the ends taken is best (Beskos et al., 2013,
    arXiv:1001.4460). step: a number, or one for each row [B]; an end that is not finite is not taken.
    """

    energy: Energy
    step: float | Tensor
    leaps: int = 10

    def __call__(self, x: Tensor, chance: Chance) -> Tensor:
        return self.move(x, chance)[0]

    def move(self, x: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """The next state, and the probability [B] with which the end was taken."""
        momentum = chance.like(x)
        end, turned, change = leapfrog(self.energy, x, momentum, self.step, self.leaps)
        change = change + 0.5 * (turned.square() - momentum.square()).flatten(1).sum(dim=1)
        probability = torch.exp(-change.clamp(min=0)).nan_to_num(0.0)  # NaN: the leaps have left for infinity
        taken = chance.bernoulli(probability).bool()
        return torch.where(taken.view(-1, *[1] * (x.ndim - 1)), end, x), probability


def mala(energy: Energy, step: float | Tensor) -> HMC:
    """The Metropolis-adjusted Langevin algorithm: a step of `Langevin`, taken or not so that exp(-E) stays exactly.

    Roberts & Tweedie, 1996, Bernoulli 2(4). It is Hamiltonian Monte Carlo with one leap of length
    sqrt(step) (Neal, 2011), where 0.57 of the steps should be taken.
    """
    return HMC(energy, step**0.5, leaps=1)


def leapfrog(
    energy: Energy, x: Tensor, momentum: Tensor, step: float | Tensor, leaps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(x, momentum, change [B] of the energy) after `leaps` of length `step`; with -momentum they lead back.

    Neal, 2011, arXiv:1206.1901; the energy with the momenta's changes by O(step^2).
    """
    step = per_row(step, x)
    before, gradient = slope(energy, x)
    value = before
    momentum = momentum - step / 2 * gradient
    for leap in range(leaps):
        x = x + step * momentum
        value, gradient = slope(energy, x)
        momentum = momentum - (step if leap < leaps - 1 else step / 2) * gradient
    return x, momentum, value - before


def tuned(kernel: HMC, x: Tensor, steps: int, chance: Chance, *, target: float = 0.65) -> tuple[Tensor, HMC]:
    """The chains after `steps`, and the kernel with a step for each row at which `target` of its ends are taken.

    Dual averaging (Hoffman & Gelman, 2014, JMLR 15, with its constants), each chain by itself, so that
    no sample depends on another. Caution: while a step is still sought, the chain leaves nothing as it is.
    """
    log_step = torch.as_tensor(kernel.step).to(x).log().expand(len(x))
    towards = log_step + math.log(10)  # steps larger than the first are tried early: they are cheap to reject
    average, error = log_step, torch.zeros_like(log_step)
    for t in range(1, steps + 1):
        x, probability = replace(kernel, step=log_step.exp()).move(x, chance)
        error = error + (target - probability - error) / (t + 10)
        log_step = towards - math.sqrt(t) / 0.05 * error
        average = average + t**-0.75 * (log_step - average)
    return x, replace(kernel, step=average.exp())


# -- along a ladder of noise -----------------------------------------------------------------------------------------


def annealed_langevin(
    score: Callable[[Tensor, float], Tensor],
    x: Tensor,
    sigmas: Sequence[float],
    steps: int,
    rate: float,
    chance: Chance,
    *,
    known: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """`steps` of Langevin at every level of noise, of length rate * sigma^2; at the end the expected clean data.

    Song & Ermon, 2019, arXiv:1907.05600; the end, x + sigma^2 score(x, sigma), is that of
    Jolicoeur-Martineau et al., 2021, arXiv:2009.05475. score(x, sigma): of the data plus N(0, sigma^2); sigmas:
    falling; known, mask: entries where mask is True are held at `known`, with the noise of the level (2019).
    """
    for sigma in sigmas:

        def at(state: Tensor, sigma: float = sigma) -> Tensor:
            return score(state, sigma)

        kernel: Callable[[Tensor, Chance], Tensor] = Langevin(at, rate * sigma**2)
        if known is not None and mask is not None:
            held = known + sigma * chance.like(known)
            x, kernel = torch.where(mask, held, x), clamped(kernel, held, mask)
        x = run_chain(kernel, x, steps, chance)
    x = x + sigmas[-1] ** 2 * score(x, sigmas[-1])
    return x if known is None or mask is None else torch.where(mask, known, x)


def annealing_rate(ratio: float, steps: int) -> float:
    """The `rate` of `annealed_langevin` after whose steps the variance is nearest to that of the level.

    Song & Ermon, 2020, arXiv:2006.09011, for data at one point: in units of sigma^2 the variance begins
    at ratio^2, with ratio = (sigma before) / sigma, and goes to v = 1 / (1 - rate / 4) as
    v + (1 - rate / 2)^(2 steps) (ratio^2 - v).
    """
    rates = torch.linspace(0.001, 1.999, 1999, dtype=torch.float64)
    limit = 1 / (1 - rates / 4)
    variance = limit + (1 - rates / 2) ** (2 * steps) * (ratio**2 - limit)
    return float(rates[(variance - 1).abs().argmin()])
