"""Closed-form divergences against golden values (likelihood card G8) and torch's own."""

from __future__ import annotations

import math

import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from exnihilo.probability.divergences import kl_bernoulli, kl_categorical, kl_normal


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_golden_values():
    assert abs(kl_normal(number(0.5), number(0.64).log()).item() - 0.16814355) < 1e-8
    two = kl_normal(number(1.0), number(0.25).log(), number(-0.3), number(1.44).log())
    assert abs(two.item() - 1.04907985) < 1e-8
    categorical = kl_categorical(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log())
    assert abs(categorical.item() - 0.29679374) < 1e-8
    assert abs(kl_bernoulli(0.05, number(0.2)).item() - 0.09394303) < 1e-8


def test_equal_torch():
    torch.manual_seed(0)
    m, v, n, w = torch.randn(4, 5, 3, dtype=torch.float64)
    ours = kl_normal(m, v, n, w)
    theirs = kl_divergence(Normal(m, (0.5 * v).exp()), Normal(n, (0.5 * w).exp()))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        kl_categorical(m, n), kl_divergence(Categorical(logits=m), Categorical(logits=n)), check_dtype=False
    )
    p, r = m.sigmoid(), n.sigmoid()
    torch.testing.assert_close(kl_bernoulli(p, r), kl_divergence(Bernoulli(p), Bernoulli(r)))


def test_bernoulli_at_the_ends_and_zero_at_equality():
    r = torch.tensor([0.2, 0.7], dtype=torch.float64)
    torch.testing.assert_close(kl_bernoulli(0.0, r), -torch.log(1 - r))
    assert kl_bernoulli(r, r).abs().max() < 1e-15
    assert kl_normal(r, r, r, r).abs().max() < 1e-15
    assert abs(kl_categorical(torch.zeros(4)).item()) < 1e-7


def test_collapsing_variance_costs_without_bound():
    narrow = kl_normal(torch.zeros(3), torch.tensor([-2.0, -10.0, -30.0]))
    torch.testing.assert_close(narrow[2].item(), 0.5 * (30 - 1 + math.exp(-30)), rtol=1e-6, atol=0)
    assert (narrow.diff() > 0).all()
