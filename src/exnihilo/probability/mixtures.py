"""Heads of numbers - mixtures of Gaussians, Student's t -, and logistics that couple the colours of a pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from exnihilo.core import Noise
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.likelihoods import DiscretisedLogisticMixture, Likelihood, log_logistic_mass

LOG_SIGMAS = (-7.0, 7.0)  # of standardised numbers
START_DEGREES = 3.0  # of freedom, beyond two: an untrained Student's t has five


class MixtureOfGaussians(Likelihood):
    """sum_m pi_m N(x; mu_m, sigma_m^2), all made by the network: 3 * components parameters per entry.

    Bishop, 1994, Eq. 22-23; the head of RNADE (Uria et al., 2013, arXiv:1306.0186, Eq. 4). One component: a Gaussian
    whose mean and variance depend on the entry. Locations start out spread over the range of standardised numbers.
    """

    def __init__(self, components: int = 10):
        super().__init__()
        self.components = components
        self.per_entry = 3 * components if components > 1 else 2
        self.locations = range(components, 2 * components) if components > 1 else (0,)

    def parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, locations and log-sigmas, each [B, components, C, ...]."""
        split = self.split(parameters)
        if self.components == 1:
            return torch.zeros_like(split[:, :1]), split[:, :1], split[:, 1:].clamp(*LOG_SIGMAS)
        logits, locations, log_sigmas = split.chunk(3, dim=1)
        spread = torch.linspace(-1.5, 1.5, self.components, device=split.device).to(split)
        return logits, locations + spread.view(-1, *[1] * (split.ndim - 2)), log_sigmas.clamp(*LOG_SIGMAS)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        logits, locations, log_sigmas = self.parts(parameters)
        densities = normal_log_prob(x[:, None], locations, 2 * log_sigmas)
        return (logits.log_softmax(dim=1) + densities).logsumexp(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        logits, locations, _ = self.parts(parameters)
        return (logits.softmax(dim=1) * locations).sum(dim=1)

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        logits, locations, log_sigmas = self.parts(parameters)
        chosen = noise.categorical(logits.movedim(1, -1))[:, None]  # [B, 1, C, ...]
        location, log_sigma = locations.gather(1, chosen)[:, 0], log_sigmas.gather(1, chosen)[:, 0]
        return location + log_sigma.exp() * noise.like(location)


class StudentT(Likelihood):
    """Student's t: a location, a scale and 2 + softplus degrees of freedom for every entry, made by the network.

    log p(x) = lgamma((n + 1) / 2) - lgamma(n / 2) - log(n pi) / 2 - log s - (n + 1) / 2 log(1 + (x - m)^2 / (n s^2)).
    Heavier tails than a Gaussian's, so single jumps spoil little; more than two degrees, so the variance exists.
    """

    per_entry = 3
    locations = (0,)

    def parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Locations, log-scales and degrees of freedom, each [B, C, ...]."""
        location, log_scale, degrees = self.split(parameters).unbind(dim=1)
        return location, log_scale.clamp(*LOG_SIGMAS), 2 + softplus(degrees + START_DEGREES)

    def entries(self, parameters: Tensor, x: Tensor) -> Tensor:
        location, log_scale, n = self.parts(parameters)
        far = ((x - location) * torch.exp(-log_scale)).square() / n
        constant = torch.lgamma((n + 1) / 2) - torch.lgamma(n / 2) - 0.5 * torch.log(n * math.pi)
        return constant - log_scale - (n + 1) / 2 * far.log1p()

    def mean(self, parameters: Tensor) -> Tensor:
        return self.parts(parameters)[0]

    def draw(self, parameters: Tensor, noise: Noise) -> Tensor:
        """Exact for any degrees: sqrt(n (u^(-2/n) - 1)) cos(2 pi v) (Bailey, 1994, Mathematics of Computation 62)."""
        location, log_scale, n = self.parts(parameters)
        u, v = noise.uniform(2, *location.shape[1:], dtype=torch.float64).unbind(dim=1)
        log_u = torch.log1p(-u)  # u is never 1
        radius = (n * torch.expm1(-2 / n * log_u)).sqrt()
        return location + log_scale.exp() * (radius * torch.cos(2 * math.pi * v)).to(location)


def coupled_size(colours: int, components: int) -> int:
    """Numbers per pixel that `couple` takes: 10 a component for three colours."""
    return components * (1 + 2 * colours + colours * (colours - 1) // 2)


def couple(head: DiscretisedLogisticMixture, raw: Tensor, x: Tensor) -> Tensor:
    """Parameters of `head` for every colour given those before it, from a pixel's raw [B, coupled_size, ...].

    Salimans et al., 2017, arXiv:1701.05517, Eq. 3: the colours of a pixel share the mixture's component, and the
    location of each moves with tanh of a coefficient times the colours before it,

        P(x) = sum_m pi_m prod_c L(x_c; mu_mc + sum_{b < c} tanh(a_mcb) x_b, s_mc).

    By the chain rule that is a mixture for every colour, its weights those of the components given the colours before,
    so whoever draws, scores or fills entry by entry needs to know nothing of it. x [B, C, ...].
    """
    colours, components = x.shape[1], head.components
    raw = raw.to(x.dtype).unflatten(1, (components, -1)).movedim(2, 0)  # [1 + 2 C + C (C - 1) / 2, B, components, ...]
    weights = raw[0]
    coefficients = iter(raw[1 + 2 * colours :].tanh())
    parameters = []
    for colour in range(colours):
        location, log_scale = raw[1 + colour], raw[1 + colours + colour]
        for before in range(colour):
            location = location + next(coefficients) * x[:, before, None]
        mine = torch.cat([weights, location, log_scale], dim=1)  # [B, 3 * components, ...]
        parameters.append(mine)
        if colour < colours - 1:
            _, at, narrow = (part[:, :, 0] for part in head.parts(mine))
            mass = log_logistic_mass(head.round(x)[:, colour, None], at, narrow, head.low, head.step)
            weights = weights.log_softmax(dim=1) + mass
    return torch.stack(parameters, dim=2).flatten(1, 2)  # [B, 3 * components * C, ...]
