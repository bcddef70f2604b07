"""Normal distributions and mixtures of them against torch, golden values, Bayes' rule and their own samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from exnihilo.core import Noise
from exnihilo.probability.distributions import DiagonalNormal, GaussianMixture, normal_log_prob


def mixture(kind: str, components: int = 3, size: int = 4) -> GaussianMixture:
    torch.manual_seed(1)
    log_weights = torch.randn(components, dtype=torch.float64).log_softmax(dim=0)
    means = torch.randn(components, size, dtype=torch.float64)
    if kind == "diagonal":
        return GaussianMixture(log_weights, means, torch.rand(components, size, dtype=torch.float64) + 0.3)
    count = 1 if kind == "tied" else components
    factors = torch.randn(count, size, size, dtype=torch.float64).tril(-1) * 0.5
    return GaussianMixture(log_weights, means, factors + torch.diag_embed(torch.rand(count, size).double() + 0.3))


kinds = pytest.mark.parametrize("kind", ["full", "tied", "diagonal"])


def test_normal_equals_torch():
    x, mean, log_variance = torch.randn(3, 7, dtype=torch.float64)
    expected = Normal(mean, (0.5 * log_variance).exp()).log_prob(x)
    torch.testing.assert_close(normal_log_prob(x, mean, log_variance), expected)
    torch.testing.assert_close(normal_log_prob(x), Normal(0.0, 1.0).log_prob(x).double())


def test_diagonal_normal():
    parameters = torch.randn(5, 2, 3, dtype=torch.float64)
    parameters[0, 1, 0], parameters[1, 1, 1] = 99.0, -99.0
    q = DiagonalNormal.of(parameters)
    assert q.log_variance.max() == 10
    assert q.log_variance.min() == -10
    epsilon = torch.randn(5, 3, dtype=torch.float64)
    z, log_q = q.sample(epsilon)
    torch.testing.assert_close(log_q, Normal(q.mean, (0.5 * q.log_variance).exp()).log_prob(z).sum(dim=1))
    twice = q.repeat(2)
    assert torch.equal(twice.mean[::2], q.mean)
    assert torch.equal(twice.mean[1::2], q.mean)


def test_golden_mixture():
    """Likelihood card G18."""
    golden = GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log(),
        torch.tensor([[-1.0, 0], [1, 1], [0, -2]], dtype=torch.float64),
        torch.tensor([[1.0, 0.5], [0.7, 0.7], [1.2, 1]], dtype=torch.float64),
    )
    z = torch.tensor([[0.2, 0.4]], dtype=torch.float64)
    assert abs(golden.log_prob(z).item() + 2.37682142) < 1e-8
    share = golden.component_log_prob(z).softmax(dim=1)[0]
    expected = torch.tensor([0.60589072, 0.37829282, 0.01581646], dtype=torch.float64)
    torch.testing.assert_close(share, expected, atol=1e-8, rtol=0)


@kinds
def test_mixture_equals_torch(kind):
    ours = mixture(kind)
    factors = torch.diag_embed(ours.factors) if kind == "diagonal" else ours.factors.expand(3, -1, -1)
    theirs = MixtureSameFamily(Categorical(logits=ours.log_weights), MultivariateNormal(ours.means, scale_tril=factors))
    x = torch.randn(9, 4, dtype=torch.float64) * 3
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))


@kinds
def test_conditional_times_marginal_is_joint(kind):
    ours = mixture(kind)
    x = torch.randn(6, 4, dtype=torch.float64)
    observed = torch.tensor([True, False, True, False])
    seen, hidden = observed.nonzero()[:, 0], (~observed).nonzero()[:, 0]
    covariance = torch.diag_embed(ours.factors**2) if ours.diagonal else ours.factors @ ours.factors.mT
    marginal = GaussianMixture(
        ours.log_weights, ours.means[:, seen], torch.linalg.cholesky(covariance[:, seen][:, :, seen])
    )
    log_weights, means, factors = ours.condition(x, observed)
    for row in range(len(x)):
        conditional = GaussianMixture(log_weights[row], means[row], factors)
        joint = marginal.log_prob(x[row, seen][None]) + conditional.log_prob(x[row, hidden][None])
        torch.testing.assert_close(joint, ours.log_prob(x[row][None]), rtol=1e-10, atol=1e-10)


@kinds
def test_samples_have_the_moments_and_no_order(kind):
    ours = mixture(kind)
    x = ours.draw(Noise(0, 40_000))
    weights = ours.log_weights.exp()
    mean = weights @ ours.means
    covariance = torch.diag_embed(ours.factors**2) if ours.diagonal else ours.factors @ ours.factors.mT
    second = (weights[:, None, None] * (covariance + ours.means[:, :, None] * ours.means[:, None, :])).sum(dim=0)
    torch.testing.assert_close(x.mean(dim=0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(x.T @ x / len(x), second, atol=0.08, rtol=0)
    assert (x[:20_000].mean(dim=0) - x[20_000:].mean(dim=0)).abs().max() < 0.05
    alone = ours.draw(Noise(0, [17]))
    torch.testing.assert_close(alone[0], x[17])


@kinds
def test_impute_draws_from_the_conditional(kind):
    ours = mixture(kind)
    n = 20_000
    x = torch.tensor([[0.4, 9.0, -0.7, 9.0]], dtype=torch.float64).repeat(n, 1)
    observed = torch.tensor([True, False, True, False])
    filled = ours.impute(x, observed.expand(n, -1), Noise(3, n))
    log_weights, means, _ = ours.condition(x[:1], observed)
    torch.testing.assert_close(filled[:, [1, 3]].mean(dim=0), log_weights[0].exp() @ means[0], atol=0.04, rtol=0)
    assert torch.equal(filled[:, [0, 2]], x[:, [0, 2]])


@kinds
def test_impute_with_nothing_and_with_everything_observed(kind):
    ours = mixture(kind)
    n = 20_000
    x = torch.full((n, 4), 5.0, dtype=torch.float64)
    mask = torch.zeros(n, 4, dtype=torch.bool)
    mask[0] = True
    filled = ours.impute(x, mask, Noise(0, n))
    assert torch.equal(filled[0], x[0])
    torch.testing.assert_close(filled[1:].mean(dim=0), ours.log_weights.exp() @ ours.means, atol=0.04, rtol=0)


def test_integrates_to_one():
    ours = mixture("full", size=2)
    axis = torch.linspace(-8, 8, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert abs(math.log(float(ours.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2))) < 1e-6
