"""The variational bound of a diffusion over levels: prior, one term for every level of noise, and the decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

from exnihilo.core import DataSpec, Noise, Prediction
from exnihilo.models.diffusion.family import beside
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.divergences import kl_normal
from exnihilo.probability.likelihoods import log1mexp
from exnihilo.probability.schedules import Levels
from exnihilo.probability.solvers import Denoise


def diffusion_bound(denoise: Denoise, path: Levels, x: Tensor, noise: Noise, k: int, spec: DataSpec | None) -> Tensor:
    """[B] log p(x) >= log p(x | x_1) - sum_{i=2}^T KL(q(x_{i-1} | x_i, x) || p) - KL(q(x_T | x) || N(0, 1)), in nats.

    Ho et al., 2020, arXiv:2006.11239, Eq. 5. The sum is sampled at k levels, stratified and with a chance proportional
    to log SNR_{i-1} - log SNR_i, near the terms' own size, which keeps the variance small. spec: of data with levels,
    whose mass is meant; None for a density.
    """
    log_snr = (path.signal[1:] / (1 - path.signal[1:])).log()  # of i = 1 ... T
    chance = log_snr[:-1] - log_snr[1:]  # of i = 2 ... T
    chance = chance / chance.sum()
    below = chance.cumsum(dim=0)

    def seen_at(index: Tensor) -> Prediction:
        t = index.to(x) / path.steps
        alpha, sigma = path(beside(x, t))
        return denoise(alpha * x + sigma * noise.like(x), t)

    total = prior_term(path, x)
    for stratum in range(k):
        place = (stratum + noise.uniform(dtype=torch.float64)) / k  # [B]
        index = torch.searchsorted(below, place).clamp(max=len(chance) - 1) + 2
        total = total + divergence_terms(seen_at(index), path, x, index) / (k * chance[index - 2]).to(x)
    return _decoder(seen_at(torch.ones(len(x), dtype=torch.long, device=x.device)), path, x, spec) - total


def prior_term(path: Levels, x: Tensor) -> Tensor:
    """[B] KL(q(x_T | x) || N(0, 1)) in nats."""
    last = path.signal[-1].to(x)
    return kl_normal(last.sqrt() * x, (-last).log1p()).flatten(1).sum(dim=1)


def level_terms(prediction: Prediction, path: Levels, x: Tensor, index: Tensor, spec: DataSpec | None) -> Tensor:
    """[B] what level i of the bound costs: KL(q(x_{i-1} | x_i, x) || p), and for i = 1 -log p(x | x_1); in nats.

    Between normals with the same mean per data and variances v of q and w of p it is

        ((SNR_{i-1} - SNR_i) |x - expected data|^2 v / w + v / w - 1 - log(v / w)) / 2,

    with w = v unless the prediction has a `fraction` (Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 15). The decoder
    is a normal of variance beta_1, or by the fraction between it and level 2's v, for v is 0 at level 1: its density
    or, given a spec, the mass of each level (Ho et al., 2020, Eq. 13). index [B] from 1 to T; prediction at x_i.
    """
    first = beside(x, index == 1)
    near = prediction._replace(data=torch.where(first, prediction.data, x))  # where it is not asked, safe to decode
    decoded = -_decoder(near, path, x, spec)
    return torch.where(first.flatten(), decoded, divergence_terms(prediction, path, x, index.clamp(min=2)))


def divergence_terms(prediction: Prediction, path: Levels, x: Tensor, index: Tensor) -> Tensor:
    """[B] those of `level_terms` for index [B] from 2 to T."""
    before, after = beside(x, path.signal[index - 1]), beside(x, path.signal[index])  # alpha^2 of i - 1 and i
    gap = (before / (1 - before) - after / (1 - after)).to(x)
    terms = gap * (x - prediction.data).square()
    if prediction.fraction is not None:
        narrower = prediction.fraction * ((1 - before) / (1 - after)).log().to(x)  # log(v / w)
        terms = terms * narrower.exp() + narrower.expm1() - narrower
    return 0.5 * terms.flatten(1).sum(dim=1)


def _decoder(prediction: Prediction, path: Levels, x: Tensor, spec: DataSpec | None) -> Tensor:
    """[B] log p(x | x_1)."""
    rest = 1 - path.signal[1:3]  # sigma^2 of levels 1 and 2
    log_variance = rest[0].log().to(x)
    if prediction.fraction is not None:
        second = (1 - path.signal[2] / path.signal[1]) / rest[1]  # level 2's v over beta_1
        log_variance = log_variance + (1 - prediction.fraction) * second.log().to(x)
    if spec is None:
        return normal_log_prob(x, prediction.data, log_variance).flatten(1).sum(dim=1)
    return level_log_prob(x, prediction.data, (0.5 * log_variance).exp(), spec).flatten(1).sum(dim=1)


def level_log_prob(x: Tensor, mean: Tensor, scale: Tensor | float, spec: DataSpec) -> Tensor:
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
