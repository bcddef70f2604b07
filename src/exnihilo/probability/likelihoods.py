"""Likelihood heads: what a network's output says about x. They serve decoders and autoregressive models alike.

A head's parameters are laid out as the data are, with `per_entry` times the size of the first dimension: pictures
(C, H, W) have parameters (per_entry * C, H, W), so that any network which makes pictures makes parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from exnihilo.core import Column, Noise
from exnihilo.probability.distributions import normal_log_prob

LOG_SCALES = (-7.0, 7.0)  # of logistics: all mass on one level of 256, and none preferred


def log1mexp(a: Tensor) -> Tensor:
    """log(1 - exp(a)) for a < 0, accurate at both ends (Machler, 2012)."""
    near = a > -math.log(2)
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, a, -1.0))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, a))),
    )


def log_logistic_mass(x: Tensor, location: Tensor, log_scale: Tensor, low: float, step: float) -> Tensor:
    """log P(level at x) of a logistic variable rounded to the levels low, low + step, ..., 1, elementwise.

    Salimans et al., 2017, arXiv:1701.05517, Eq. 2: the outer levels take the tails, so the masses sum to one. Inside,
    sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), where u - l is the step over the scale whatever
    the location: exact however far out, where the difference of two rounded numbers would be 0.
    """
    rate = torch.exp(-log_scale)
    lower, upper = (x - step / 2 - location) * rate, (x + step / 2 - location) * rate
    inside = logsigmoid(upper) + logsigmoid(-lower) + log1mexp(-step * rate)
    first, last = x < low + step / 2, x > 1 - step / 2
    return torch.where(first, logsigmoid(upper), torch.where(last, logsigmoid(-lower), inside))


def clamped_logistic_mean(location: Tensor, scale: Tensor, low: float) -> Tensor:
    """E[X clamped to [low, 1]] of X ~ Logistic(location, scale), elementwise."""
    return low + scale * (softplus((location - low) / scale) - softplus((location - 1) / scale))


def logistic_draw(location: Tensor, scale: Tensor, noise: Noise) -> Tensor:
    """location + scale * logit(u), shaped as the location [B, ...]."""
    u = noise.uniform(*location.shape[1:], dtype=torch.float64) + 2.0**-25  # of 24 bits: keeps 0 out
    return location + scale * u.logit().to(location)


class Likelihood(nn.Module):
    """p(x | parameters), the entries of x independent given the parameters."""

    per_entry: int = 1  # numbers that the network makes for each entry of x
    mass: bool = False  # probabilities of levels, not a density
    locations: Sequence[int] = ()  # which of the `per_entry` numbers, moved by a, move the distribution by a

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the parameters for data of a shape."""
        return (self.per_entry * shape[0], *shape[1:])

    def split(self, parameters: Tensor) -> Tensor:
        """[B, per_entry * C, ...] -> [B, per_entry, C, ...]."""
        return parameters.unflatten(1, (self.per_entry, -1))

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p of every entry, shaped as x, in nats."""
        raise NotImplementedError

    def log_prob(self, parameters: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B] log p(x | parameters) in nats, summed over the entries, or over those where mask is True."""
        entries = self.entries(parameters, x)
        if mask is not None:
            entries = torch.where(mask, entries, 0.0)
        return entries.flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x | parameters]: [B, *shape]."""
        raise NotImplementedError

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        """x ~ p(x | parameters): [B, *shape]."""
        raise NotImplementedError


class SquaredError(Likelihood):
    """-(x - m)^2: a Gaussian of variance 1/2 without its constant, for models that claim no density."""

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        return -(x - parameters).square()

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return parameters + math.sqrt(0.5) * noise.like(parameters)


class Gaussian(Likelihood):
    """N(x; m, sigma^2) with one learned sigma for all entries, whose optimum is the mean squared error.

    Rybkin et al., 2021, arXiv:2006.13202. The floor keeps the density of repeated values finite.
    """

    def __init__(self, floor: float = 1e-2):
        super().__init__()
        self.floor = floor
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @property
    def variance(self) -> Tensor:
        """sigma^2 = exp(log_sigma)^2 + floor^2."""
        return torch.exp(2 * self.log_sigma) + self.floor**2

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        return normal_log_prob(x, parameters, self.variance.log())

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return parameters + self.variance.sqrt() * noise.like(parameters)


class Bernoulli(Likelihood):
    """Two values, `low` and 1; the parameters are logits. Of greys it would be no likelihood."""

    mass = True

    def __init__(self, low: float = 0.0):
        super().__init__()
        self.low = low

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        high = (x > (self.low + 1) / 2).to(parameters)
        return -binary_cross_entropy_with_logits(parameters, high, reduction="none")

    def mean(self, parameters: Tensor) -> Tensor:
        return self.low + (1 - self.low) * parameters.sigmoid()

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return self.low + (1 - self.low) * noise.bernoulli(parameters.sigmoid())


class Levels(Likelihood):
    """A probability for each of the levels low, low + step, ..., 1."""

    mass = True

    def __init__(self, levels: int, low: float = -1.0):
        super().__init__()
        self.levels, self.low = levels, low
        self.step = (1 - low) / (levels - 1)

    def index(self, x: Tensor) -> Tensor:
        """0 ... levels - 1 of the nearest level."""
        return ((x - self.low) / self.step).round().clamp(0, self.levels - 1)

    def round(self, x: Tensor) -> Tensor:
        """The nearest level."""
        return self.low + self.step * self.index(x)


class Categorical(Levels):
    """A free probability for every level; the parameters are `levels` logits per entry."""

    def __init__(self, levels: int, low: float = -1.0):
        super().__init__(levels, low)
        self.per_entry = levels

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        log_p = self.split(parameters).movedim(1, -1).log_softmax(dim=-1)  # as sequences have them: no copy
        return log_p.gather(-1, self.index(x).long()[..., None])[..., 0]

    def mean(self, parameters: Tensor) -> Tensor:
        p = self.split(parameters).softmax(dim=1).movedim(1, -1)
        return p @ (self.low + self.step * torch.arange(self.levels, device=p.device).to(p))

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        index = noise.categorical(self.split(parameters).movedim(1, -1))
        return self.low + self.step * index.to(parameters)


class CategoricalIds(Categorical):
    """A free probability for every token; x are their ids, 0 ... levels - 1."""

    def __init__(self, levels: int):
        super().__init__(levels, low=0.0)
        self.step = 1.0

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return super().draw(parameters, noise).long()


class DiscretisedLogistic(Levels):
    """A logistic variable rounded to the levels: a location per entry, a learned scale for each place of x.

    Salimans et al., 2017, arXiv:1701.05517, Eq. 2 with one component. It knows that neighbouring levels are alike; the
    mean is taken before rounding.
    """

    def __init__(self, shape: Sequence[int], levels: int, low: float = -1.0):
        super().__init__(levels, low)
        self.log_scale = nn.Parameter(torch.full(tuple(shape), -1.0))

    def _scale(self) -> Tensor:
        return self.log_scale.clamp(*LOG_SCALES)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        return log_logistic_mass(self.round(x), parameters, self._scale(), self.low, self.step)

    def mean(self, parameters: Tensor) -> Tensor:
        return clamped_logistic_mean(parameters, self._scale().exp(), self.low)

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        return self.round(logistic_draw(parameters, self._scale().exp(), noise))


class DiscretisedLogisticMixture(Levels):
    """sum_m pi_m of discretised logistics, all made by the network: 3 * components parameters per entry.

    Salimans et al., 2017, arXiv:1701.05517, Eq. 2; channels are independent here.
    """

    def __init__(self, levels: int, low: float = -1.0, components: int = 5):
        super().__init__(levels, low)
        self.per_entry = 3 * components
        self.components = components

    def parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, locations and log-scales, each [B, components, C, ...]; locations start out spread over the range."""
        logits, locations, log_scales = self.split(parameters).chunk(3, dim=1)
        middle = (torch.arange(self.components, device=locations.device).to(locations) + 0.5) / self.components
        spread = (self.low + (1 - self.low) * middle).view(-1, *[1] * (locations.ndim - 2))
        return logits, locations + spread, (log_scales - 1).clamp(*LOG_SCALES)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        logits, locations, log_scales = self.parts(parameters)
        masses = log_logistic_mass(self.round(x)[:, None], locations, log_scales, self.low, self.step)
        return (logits.log_softmax(dim=1) + masses).logsumexp(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        logits, locations, log_scales = self.parts(parameters)
        return (logits.softmax(dim=1) * clamped_logistic_mean(locations, log_scales.exp(), self.low)).sum(dim=1)

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        logits, locations, log_scales = self.parts(parameters)
        chosen = noise.categorical(logits.movedim(1, -1))[:, None]  # [B, 1, C, ...]
        location, log_scale = locations.gather(1, chosen)[:, 0], log_scales.gather(1, chosen)[:, 0]
        return self.round(logistic_draw(location, log_scale.exp(), noise))


class Mixed(Likelihood):
    """A head per table column: a Gaussian with its own sigma, a probability per category, one of a missing value.

    A density over the dequantised row (`DataSpec.dequantise`), and equally over the row itself: a category's or a
    flag's probability is spread evenly over its unit box, found again by the largest entry; the filler of a missing
    number has the density N(0, 1) that dequantisation gave it, so it cancels and teaches nothing. Entries of a
    category stand on its first place, the others are 0.
    """

    number_at: Tensor
    missing_at: Tensor
    flag_at: Tensor

    def __init__(self, columns: Sequence[Column], floor: float = 1e-2):
        super().__init__()
        self.columns, self.floor = tuple(columns), floor
        numbers = [column for column in columns if column.kind == "number"]
        self.categories = [column for column in columns if column.kind == "category"]
        gappy = [column for column in numbers if column.missing]
        places = {
            "number_at": [column.start for column in numbers],
            "missing_at": [column.start for column in gappy],
            "flag_at": [column.start + 1 for column in gappy],
        }
        for name, place in places.items():
            self.register_buffer(name, torch.tensor(place, dtype=torch.int64), persistent=False)
        self.log_sigma = nn.Parameter(torch.zeros(len(numbers)))

    @property
    def variance(self) -> Tensor:
        """Of every number column."""
        return torch.exp(2 * self.log_sigma) + self.floor**2

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        places, entries = [self.number_at], [self._numbers(parameters, x)]
        if len(self.flag_at):
            gone = x[:, self.flag_at] >= 0.5
            logit = parameters[:, self.flag_at]
            places.append(self.flag_at)
            entries.append(logsigmoid(torch.where(gone, logit, -logit)))
        for column in self.categories:
            chosen = x[:, column.slice].argmax(dim=1, keepdim=True)
            places.append(self.number_at.new_tensor([column.start]))
            entries.append(parameters[:, column.slice].log_softmax(dim=1).gather(1, chosen))
        values = torch.cat(entries, dim=1)
        return values.new_zeros(parameters.shape).index_copy(1, torch.cat(places), values)

    def _numbers(self, parameters: Tensor, x: Tensor) -> Tensor:
        """[B, numbers] log-densities."""
        x_numbers = x[:, self.number_at]
        density = normal_log_prob(x_numbers, parameters[:, self.number_at], self.variance.log())
        return torch.where(self._gone(x), normal_log_prob(x_numbers), density)

    def _gone(self, x: Tensor) -> Tensor:
        """[B, numbers] which numbers are missing."""
        gone = torch.zeros_like(x, dtype=torch.bool)
        gone[:, self.missing_at] = x[:, self.flag_at] >= 0.5
        return gone[:, self.number_at]

    def mean(self, parameters: Tensor) -> Tensor:
        """Numbers by their means, flags and categories by their probabilities."""
        mean = parameters.clone()
        mean[:, self.flag_at] = parameters[:, self.flag_at].sigmoid()
        for column in self.categories:
            mean[:, column.slice] = parameters[:, column.slice].softmax(dim=1)
        return mean

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Rows that real data could hold, but for the steps of numbers."""
        x = self.mean(parameters)
        x[:, self.number_at] += self.variance.sqrt() * noise.normal(len(self.number_at), dtype=x.dtype)
        x[:, self.flag_at] = noise.bernoulli(x[:, self.flag_at])
        x[:, self.missing_at] *= 1 - x[:, self.flag_at]
        for column in self.categories:
            chosen = noise.categorical(parameters[:, column.slice])
            x[:, column.slice] = nn.functional.one_hot(chosen, column.width).to(x)
        return x
