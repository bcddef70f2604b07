"""What x may be where it was not observed, by importance sampling of the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exnihilo.core import Noise, check_mask
from exnihilo.models.autoencoders.estimators import effective_samples
from exnihilo.probability.likelihoods import Mixed

if TYPE_CHECKING:
    from exnihilo.models.autoencoders.family import VAE

PARTICLES = 256  # codes drawn for every example
SWEEPS = 5  # of pseudo-Gibbs that bring a posterior, which knows whole examples only, near the right one
AT_ONCE = 2**22  # numbers of decoded examples held at once
NEVER = -30.0  # the logit of what does not happen


@dataclass(frozen=True)
class Completion:
    """x [B, *shape] with what was not observed drawn from p(x_m | x_o), with its mean, and how far to trust them.

    effective: [B] effective number of codes that they rest on; near 1, one code outweighed all others.
    """

    draw: Tensor
    mean: Tensor
    effective: Tensor


@torch.no_grad()
def complete(
    model: VAE, x: Tensor, mask: Tensor, *, particles: int = PARTICLES, sweeps: int | None = None, seed: int = 0
) -> Completion:
    """Fill the entries of x where mask is False by self-normalised importance sampling.

    w_i ~ p(x_o | z_i) p(z_i) / q(z_i | x_o): the mean is sum_i w_i E[x_m | z_i], the draw that of a code resampled
    by weight (Mattei & Frellsen, 2019, arXiv:1812.02633, Eq. 6-7). q reads zeros where nothing was observed; with
    `sweeps` those are first replaced by pseudo-Gibbs draws (Rezende et al., 2014, arXiv:1401.4082, appendix F), which
    a model that was trained on whole examples needs, and gets by default. Exact as particles grow. A value is drawn
    also where a table could hold none. Raises DataError.
    """
    check_mask(x, mask)
    noise = Noise(seed, len(x), device=x.device)
    size = max(1, AT_ONCE // (particles * model.spec.size))
    sweeps = model.sweeps if sweeps is None else sweeps
    parts = [
        _complete(model, x[at : at + size], mask[at : at + size], particles, sweeps, noise[at : at + size])
        for at in range(0, len(x), size)
    ]
    return Completion(
        torch.cat([part.draw for part in parts]),
        torch.cat([part.mean for part in parts]),
        torch.cat([part.effective for part in parts]),
    )


def _complete(model: VAE, x: Tensor, mask: Tensor, particles: int, sweeps: int, noise: Noise) -> Completion:
    gaps = model.observed(x, None)
    known = mask if gaps is None else mask & gaps  # a table's own gaps are nothing to go by for a model of values
    start = torch.where(known, x, 0.0)
    for _ in range(sweeps):
        vector = _told(model, x, noise, 1)
        posterior = model.posterior(start, vector)
        parameters = present(model, model.parameters_of(posterior.at(noise.like(posterior.mean)), vector))
        start = torch.where(known, x, model.likelihood.draw(parameters, noise))
    vector = _told(model, x, noise, particles)
    seen = None if sweeps else known
    if vector is None:
        posterior = model.posterior(start, None, seen).repeat(particles)
    else:  # a class for every code
        many = None if seen is None else seen.repeat_interleave(particles, dim=0)
        posterior = model.posterior(start.repeat_interleave(particles, dim=0), vector, many)
    epsilon = noise.normal(particles, *posterior.mean.shape[1:], dtype=x.dtype)
    z, log_q = posterior.sample(epsilon.flatten(0, 1))
    parameters = model.parameters_of(z, vector)
    repeated_x, repeated_mask = x.repeat_interleave(particles, dim=0), known.repeat_interleave(particles, dim=0)
    log_p = model.likelihood.log_prob(parameters, repeated_x, repeated_mask)
    weights = (log_p + model.code.given(vector).log_prob(z) - log_q).view(len(x), particles)
    parameters = present(model, parameters)
    means = model.likelihood.mean(parameters).view(len(x), particles, *x.shape[1:])
    mean = torch.einsum("bk,bk...->b...", weights.softmax(dim=1), means)
    chosen = torch.arange(len(x), device=x.device) * particles + noise.categorical(weights)
    draw = model.likelihood.draw(parameters[chosen], noise)
    return Completion(torch.where(mask, x, draw), torch.where(mask, x, mean), effective_samples(weights))


def _told(model: VAE, x: Tensor, noise: Noise, copies: int) -> Tensor | None:
    """[B * copies, V] what a conditional model is told: of every copy a class drawn by its share, facts unknown."""
    if not model.labelled:
        return model.vector(len(x) * copies)
    label = noise.categorical(model.class_log_shares(x).expand(len(x), copies, -1))
    return model.vector(len(x) * copies, label.flatten())


def present(model: VAE, parameters: Tensor) -> Tensor:
    """The decoder's parameters with a missing value ruled out, for tables: what is imputed is a value."""
    if not isinstance(model.likelihood, Mixed):
        return parameters
    parameters = parameters.clone()
    parameters[:, model.likelihood.flag_at] = NEVER
    for column in model.likelihood.categories:
        if None in column.categories:
            parameters[:, column.start + column.categories.index(None)] = NEVER
    return parameters
