"""Mixture heads: densities that integrate, colours that sum to one however they are coupled."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from exnihilo.core import Noise
from exnihilo.probability.likelihoods import DiscretisedLogisticMixture, log_logistic_mass
from exnihilo.probability.mixtures import MixtureOfGaussians, couple, coupled_size


def joint(head: DiscretisedLogisticMixture, raw: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Eq. 3 of the paper as it is written: [B] of three colours [B, 3]."""
    k = head.components
    raw = raw.view(len(x), k, 10)
    middle = (head.low + (1 - head.low) * (torch.arange(k) + 0.5) / k).to(raw)
    means, scales, a = raw[..., 1:4] + middle[:, None], raw[..., 4:7] - 1, raw[..., 7:].tanh()
    red, green = x[:, None, 0], x[:, None, 1]
    shift = torch.stack([0 * a[..., 0], a[..., 0] * red, a[..., 1] * red + a[..., 2] * green], dim=-1)
    masses = log_logistic_mass(x[:, None], means + shift, scales.clamp(-7, 7), head.low, head.step)
    return (raw[..., 0].log_softmax(dim=1) + masses.sum(dim=2)).logsumexp(dim=1)


def test_coupled_colours_are_the_papers_mixture_and_sum_to_one():
    torch.manual_seed(0)
    head = DiscretisedLogisticMixture(4, components=3)
    assert coupled_size(3, 3) == 30
    x = torch.tensor(list(itertools.product(range(4), repeat=3))).double() * 2 / 3 - 1  # 4^3 pixels
    raw = torch.randn(1, 30).double().expand(64, -1)
    parameters = couple(head, raw[..., None, None], x[..., None, None])
    log_p = head.log_prob(parameters, x[..., None, None])
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(log_p, joint(head, raw, x))
    green = head.entries(parameters, x[..., None, None])[:, 1, 0, 0].view(4, 4, 4)
    assert not torch.allclose(green[0], green[3], atol=1e-2), "green does not know red"


def test_one_colour_needs_no_coupling():
    head = DiscretisedLogisticMixture(16, components=2)
    raw = torch.randn(2, coupled_size(1, 2), 3, 3)
    logits, locations, log_scales = raw.view(2, 2, 3, 3, 3).unbind(dim=2)
    plain = torch.cat([logits, locations, log_scales], dim=1)
    torch.testing.assert_close(couple(head, raw, torch.zeros(2, 1, 3, 3)), plain)


@pytest.mark.parametrize("components", [1, 4])
def test_mixture_of_gaussians_integrates_and_draws_what_it_says(components: int):
    torch.manual_seed(1)
    head = MixtureOfGaussians(components)
    parameters = torch.randn(1, head.per_entry).double()
    grid = torch.linspace(-30, 30, 60001).double()
    density = head.log_prob(parameters.expand(len(grid), -1), grid[:, None]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    mean = float(torch.trapezoid(density * grid, grid))
    assert float(head.mean(parameters)) == pytest.approx(mean, abs=1e-6)
    n = 20000
    drawn = head.draw(parameters.expand(n, -1), Noise(0, n))[:, 0]
    spread = math.sqrt(float(torch.trapezoid(density * (grid - mean) ** 2, grid)))
    assert abs(float(drawn.mean()) - mean) < 4 * spread / math.sqrt(n)
    assert float(drawn.std()) == pytest.approx(spread, rel=0.05)


def test_densities_stay_finite_far_out():
    head = MixtureOfGaussians(3)
    parameters = 100 * torch.randn(5, 9)
    assert head.log_prob(parameters, torch.tensor([[-50.0], [50.0], [0.0], [1e3], [-1e3]])).isfinite().all()
