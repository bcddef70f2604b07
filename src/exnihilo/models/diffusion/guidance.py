"""Wrappers with the verb of a denoiser: they change its answer and leave the model and the sampler alone.

Order matters: guidance first, thresholding last, for it is not linear.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from exnihilo.core import Prediction
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import Denoise


def classifier_free(
    denoise: Callable[..., Prediction],
    strength: float,
    label: Tensor | None,
    attributes: Tensor | None,
    *,
    until: float = 1.0,
    rescale: float = 0.0,
) -> Denoise:
    """given + strength (given - free), `free` being the answer without label and attributes.

    Ho & Salimans, 2022, arXiv:2207.12598, Eq. 6: strength is their w, so 0 is the conditional model itself (papers
    that quote 1 + w call that 1). One call of the network on a batch twice as large. until: only at t <= until; near
    the noise guidance costs diversity (Kynkaanniemi et al., 2024, arXiv:2404.07724). rescale: how far the data are
    brought back to the spread that the conditional answer has (Lin et al., 2023, arXiv:2305.08891, Eq. 15-16).
    """
    if strength == 0 or (label is None and attributes is None):
        return lambda x, t: denoise(x, t, label=label, attributes=attributes)
    labels = None if label is None else torch.cat([label, torch.full_like(label, -1)])
    facts = None if attributes is None else torch.cat([attributes, torch.full_like(attributes, torch.nan)])

    def guided(x: Tensor, t: Tensor) -> Prediction:
        if float(t[0]) > until:
            return denoise(x, t, label=label, attributes=attributes)
        both = denoise(torch.cat([x, x]), torch.cat([t, t]), label=labels, attributes=facts)
        (data, free_data), (noise, free_noise) = both.data.chunk(2), both.noise.chunk(2)
        far = Prediction(
            data + strength * (data - free_data),
            noise + strength * (noise - free_noise),
            None if both.fraction is None else both.fraction.chunk(2)[0],  # variances are not guided
        )
        return _spread_as(far, data, rescale) if rescale else far

    return guided


def _spread_as(far: Prediction, data: Tensor, share: float) -> Prediction:
    """Expected data whose deviation within each example is, by this share, that of `data`."""
    dims = tuple(range(1, data.ndim))
    ratio = data.std(dim=dims, keepdim=True) / far.data.std(dim=dims, keepdim=True).clamp(min=1e-8)
    return far._replace(data=far.data * (share * ratio + (1 - share)))


#: log p(condition | x_t), up to a constant, [B]: (x, t [B]) -> [B].
LogCondition = Callable[[Tensor, Tensor], Tensor]


def by_energy(denoise: Denoise, log_condition: LogCondition, strength: float, path: Path) -> Denoise:
    """noise - strength sigma grad_x log p(condition | x_t), and the data that go with it.

    Dhariwal & Nichol, 2021, arXiv:2105.05233, Eq. 14 and Algorithm 2. Only strength 1 on an unconditional model aims at
    an exact law, p(data | condition); with the exact classifier of a mixture it equals `classifier_free`'s 1 + w = 1.
    """
    if strength == 0:
        return denoise

    def guided(x: Tensor, t: Tensor) -> Prediction:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            slope = torch.autograd.grad(log_condition(point, t).sum(), point)[0]
        answer = denoise(x, t)
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        return answer._replace(
            data=answer.data + strength * sigma.square() / alpha.clamp(min=1e-4) * slope,
            noise=answer.noise - strength * sigma * slope,
        )

    return guided


def clipped(denoise: Denoise, path: Path, low: Tensor, high: Tensor) -> Denoise:
    """The expected data kept between low and high [*shape], and the noise derived anew: (x - alpha data) / sigma.

    Ho et al., 2020, clip in this way. Data and noise that no longer add up to x would be another sampler.
    """
    return _changed(denoise, path, lambda data: data.clamp(low, high))


def dynamic(denoise: Denoise, path: Path, low: Tensor, high: Tensor, share: float = 0.995) -> Denoise:
    """The expected data, seen from the middle of the box, cut at the larger of its edge and their own quantile, and
    scaled back into it: strong guidance then does not drive all pixels to the edges.

    Saharia et al., 2022, arXiv:2205.11487, Section 2.3; the quantile `share` is each sample's own.
    """
    middle, half = (low + high) / 2, (high - low) / 2

    def inside(data: Tensor) -> Tensor:
        offset = (data - middle) / half
        edge = offset.flatten(1).abs().quantile(share, dim=1).clamp(min=1.0).view(-1, *[1] * (data.ndim - 1))
        return middle + half * offset.clamp(-edge, edge) / edge

    return _changed(denoise, path, inside)


def _changed(denoise: Denoise, path: Path, change: Callable[[Tensor], Tensor]) -> Denoise:
    """The denoiser with other data, and the noise that goes with them."""

    def changed(x: Tensor, t: Tensor) -> Prediction:
        answer = denoise(x, t)
        data = change(answer.data)
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        return answer._replace(data=data, noise=(x - alpha * data) / sigma)

    return changed
