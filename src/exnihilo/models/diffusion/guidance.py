"""Wrappers with the verb of a denoiser: they change its answer and leave the model and the sampler alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from exnihilo.core import Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import Denoise


def classifier_free(
    denoise: Callable[..., Prediction], strength: float, label: Tensor | None, attributes: Tensor | None
) -> Denoise:
    """given + strength (given - free), `free` being the answer without label and attributes.

    Ho & Salimans, 2022, arXiv:2207.12598, Eq. 6: strength is their w, so 0 is the conditional model itself (papers
    that quote 1 + w call that 1). One call of the network on a batch twice as large. Applied before clipping, which is
    not linear.
    """
    if strength == 0 or (label is None and attributes is None):
        return lambda x, t: denoise(x, t, label=label, attributes=attributes)
    labels = None if label is None else torch.cat([label, torch.full_like(label, -1)])
    facts = None if attributes is None else torch.cat([attributes, torch.full_like(attributes, torch.nan)])

    def guided(x: Tensor, t: Tensor) -> Prediction:
        both = denoise(torch.cat([x, x]), torch.cat([t, t]), label=labels, attributes=facts)
        (data, free_data), (noise, free_noise) = both.data.chunk(2), both.noise.chunk(2)
        return Prediction(data + strength * (data - free_data), noise + strength * (noise - free_noise))

    return guided


def clipped(denoise: Denoise, path: Path, low: Tensor, high: Tensor) -> Denoise:
    """The expected data kept between low and high [*shape], and the noise derived anew: (x - alpha data) / sigma.

    Ho et al., 2020, clip in this way. Data and noise that no longer add up to x would be another sampler.
    """

    def inside(x: Tensor, t: Tensor) -> Prediction:
        data = denoise(x, t).data.clamp(low, high)
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        return Prediction(data, (x - alpha * data) / sigma)

    return inside
