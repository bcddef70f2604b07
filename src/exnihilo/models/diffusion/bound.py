"""The variational bound of a discrete diffusion: prior, one term for every level of noise, and the decoder."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.special import log_ndtr

from exnihilo.core import DataSpec, Noise
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.divergences import kl_normal
from exnihilo.probability.likelihoods import log1mexp
from exnihilo.probability.schedules import Discrete


def diffusion_bound(
    expected: Callable[[Tensor, Tensor], Tensor],
    path: Discrete,
    x: Tensor,
    noise: Noise,
    k: int,
    levels: DataSpec | None,
) -> Tensor:
    """[B] log p(x) >= log p(x | x_1) - sum_{i=2}^T KL(q(x_{i-1} | x_i, x) || p) - KL(q(x_T | x) || N(0, 1)), in nats.

    Ho et al., 2020, arXiv:2006.11239, Eq. 5, with the posterior variance in p, so that each middle term is
    (SNR_{i-1} - SNR_i) / 2 |x - expected data|^2. Those are sampled at k levels, stratified and with a chance
    proportional to log SNR_{i-1} - log SNR_i, near the terms' own size, which keeps the variance small. The decoder
    is a Gaussian of scale sigma_1: its density or, given the spec of data with levels, the mass of each level (Eq. 13).
    expected: (x_t, t [B]) -> E[x | x_t].
    """

    def guess(index: Tensor) -> Tensor:
        t = index.to(x) / path.steps
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        return expected(alpha * x + sigma * noise.like(x), t)

    ratio = path.signal / (1 - path.signal)  # SNR at i = 0 ... T, infinite at 0
    chance = (ratio[1:-1] / ratio[2:]).log()  # of i = 2 ... T
    chance = chance / chance.sum()
    below = chance.cumsum(dim=0)
    last, scale = path.signal[-1].to(x), float((1 - path.signal[1]).sqrt())
    kl = kl_normal(last.sqrt() * x, (-last).log1p()).flatten(1).sum(dim=1)
    for stratum in range(k):
        place = (stratum + noise.uniform(dtype=torch.float64)) / k  # [B]
        index = torch.searchsorted(below, place).clamp(max=len(chance) - 1) + 2
        weight = 0.5 * (ratio[index - 1] - ratio[index]) / (chance[index - 2] * k)
        kl = kl + weight.to(x) * (x - guess(index)).square().flatten(1).sum(dim=1)
    mean = guess(torch.ones(len(x), dtype=torch.long, device=x.device))
    decoder = (
        normal_log_prob(x, mean, 2 * math.log(scale)) if levels is None else level_log_prob(x, mean, scale, levels)
    )
    return decoder.flatten(1).sum(dim=1) - kl


def level_log_prob(x: Tensor, mean: Tensor, scale: float, spec: DataSpec) -> Tensor:
    """log of the mass that N(mean, scale^2) has on the step around every level x; the outermost steps are open.

    Ho et al., 2020, arXiv:2006.11239, Eq. 13, for any number of levels. log(Phi(b) - Phi(a)) is taken in the tail
    where both are small, in float64, so a level 100 scales away has a finite value.
    """
    index, half = spec.to_levels(x), spec.step / 2
    middle = (index.double() * spec.step + spec.low) - mean.double()
    upper = ((middle + half) / scale).masked_fill(index == spec.levels - 1, math.inf)
    lower = ((middle - half) / scale).masked_fill(index == 0, -math.inf)
    flip = lower + upper > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    log_upper = log_ndtr(upper)
    return (log_upper + log1mexp(log_ndtr(lower) - log_upper)).to(x)
