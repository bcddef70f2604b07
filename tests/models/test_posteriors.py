"""Posterior families: densities against torch, log-determinants against autograd, gradients against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, create, seeded
from exnihilo.models.autoencoders.posteriors import (
    FlowPosterior,
    FullNormal,
    InverseAutoregressive,
    InverseAutoregressiveFamily,
    NormalMixture,
    Planar,
    PlanarFamily,
    family_named,
)
from exnihilo.models.autoencoders.priors import Posterior
from exnihilo.nets.masked import MADE
from exnihilo.probability.distributions import DiagonalNormal

torch.set_num_threads(1)
LATENT = 4


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posteriors() -> dict[str, Posterior]:
    planar = PlanarFamily(LATENT, 3)
    iaf = InverseAutoregressiveFamily(LATENT, 2, width=16, vector=3).double()
    for weight in iaf.parameters():
        weight.data = 0.4 * numbers(*weight.shape)
    return {
        "full": FullNormal.of(numbers(5, 2 + LATENT, LATENT)),
        "mixture": NormalMixture.of(numbers(5, 3, 2 * LATENT + 1)),
        "planar": planar(numbers(5, planar.size)),
        "iaf": iaf(numbers(5, iaf.size)),
    }


every = pytest.mark.parametrize("name", ["full", "mixture", "planar", "iaf"])


@every
def test_a_draw_knows_its_density(name):
    q = posteriors()[name]
    epsilon = numbers(5, LATENT, seed=1)
    z, log_q = q.sample(epsilon)
    torch.testing.assert_close(z, q.at(epsilon))
    torch.testing.assert_close(log_q, q.log_prob(z), rtol=1e-8, atol=1e-8)
    assert q.mean.shape == (5, LATENT)


@every
def test_repeating_repeats_each_in_a_row(name):
    q = posteriors()[name]
    epsilon = numbers(5, LATENT, seed=1)
    z, log_q = q.repeat(3).sample(epsilon.repeat_interleave(3, dim=0))
    torch.testing.assert_close(z, q.at(epsilon).repeat_interleave(3, dim=0))
    torch.testing.assert_close(log_q, q.sample(epsilon)[1].repeat_interleave(3))


def test_full_covariance_equals_torch():
    q = FullNormal.of(numbers(5, 2 + LATENT, LATENT))
    z = numbers(5, LATENT, seed=2)
    torch.testing.assert_close(q.log_prob(z), MultivariateNormal(q.mean, scale_tril=q.factor).log_prob(z))


# -- mixtures --------------------------------------------------------------------------------------------------------


def same_in_torch(q: NormalMixture) -> MixtureSameFamily:
    parts = Independent(Normal(q.means, torch.exp(0.5 * q.log_variances)), 1)
    return MixtureSameFamily(Categorical(logits=q.log_weights), parts)


def test_mixture_equals_torch():
    q = NormalMixture.of(numbers(5, 3, 2 * LATENT + 1))
    z = numbers(5, LATENT, seed=2)
    torch.testing.assert_close(q.log_prob(z), same_in_torch(q).log_prob(z))
    torch.testing.assert_close(q.mean, same_in_torch(q).mean)


def test_mixture_draws_have_its_moments():
    n = 40_000
    q = NormalMixture.of(numbers(1, 3, 5)).repeat(n)
    z = q.at(numbers(n, 2, seed=3))
    exact = same_in_torch(q)
    error = (exact.variance[0] / n).sqrt()
    assert ((z.mean(dim=0) - exact.mean[0]).abs() < 4 * error).all()
    torch.testing.assert_close(z.var(dim=0), exact.variance[0], rtol=0.05, atol=0)


def test_conditional_distribution_functions_have_these_slopes():
    """dF_k / dz_j of the Rosenblatt transform, against autograd."""
    q = NormalMixture.of(numbers(1, 3, 2 * LATENT + 1))
    z = numbers(1, LATENT, seed=4)
    expected = torch.autograd.functional.jacobian(lambda z: q._conditionals(z)[0], z)[0, :, 0]
    torch.testing.assert_close(q._conditionals(z)[1][0], expected, rtol=1e-8, atol=1e-10)


def test_implicit_gradients_are_those_of_the_expectation():
    """E[z_1^2 + z_1 z_2] = sum_c w_c (m_c1^2 + s_c1^2 + m_c1 m_c2): value and gradient in all parameters."""
    parameters = (0.7 * numbers(1, 3, 5)).requires_grad_()
    q = NormalMixture.of(parameters)
    w, m, v = q.log_weights.exp()[0], q.means[0], q.log_variances.exp()[0]
    exact = (w * (m[:, 0].square() + v[:, 0] + m[:, 0] * m[:, 1])).sum()
    expected = torch.autograd.grad(exact, parameters)[0]
    batches = []
    for seed in range(20):
        z = NormalMixture.of(parameters).repeat(4000).at(numbers(4000, 2, seed=10 + seed))
        value = (z[:, 0].square() + z[:, 0] * z[:, 1]).mean()
        batches.append(torch.autograd.grad(value, parameters)[0])
    found = torch.stack(batches)
    error = found.std(dim=0) / len(batches) ** 0.5
    assert ((found.mean(dim=0) - expected).abs() < 4.5 * error + 1e-9).all()
    assert expected[0, :, 0].abs().max() > 0.05  # the weights have a gradient at all
    assert (error < 0.1).all()


# -- flows -----------------------------------------------------------------------------------------------------------


def test_golden_planar_step():
    """Likelihood card G6."""
    u, w = torch.tensor([[0.4, -0.2, 0.9]]).double(), torch.tensor([[-1, 0.5, 0.3]]).double()
    z, log_det = Planar(u, w, torch.tensor([0.2]).double())(torch.tensor([[0.5, -1, 0.3]]).double())
    torch.testing.assert_close(z, torch.tensor([[0.17130327, -0.83565163, -0.22428135]]).double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(log_det, torch.tensor([-0.30163961]).double(), rtol=0, atol=1e-7)


def steps() -> dict[str, Planar | InverseAutoregressive]:
    network = MADE((LATENT,), 2, width=16, depth=2, vector=3).double()
    for weight in network.parameters():
        weight.data = 0.5 * numbers(*weight.shape)
    return {
        "planar": Planar(numbers(3, LATENT), numbers(3, LATENT, seed=1), numbers(3, seed=2)),
        "against its direction": Planar(-9 * numbers(3, LATENT), numbers(3, LATENT), numbers(3, seed=2)),
        "iaf": InverseAutoregressive(network, numbers(3, 3, seed=5)),
    }


@pytest.mark.parametrize("name", steps())
def test_log_determinants_are_autograds_and_steps_invert(name):
    step, z = steps()[name], numbers(3, LATENT, seed=6)
    reached, log_det = step(z)
    jacobian = torch.autograd.functional.jacobian(lambda z: step(z)[0].sum(dim=0), z).transpose(0, 1)  # [B, K, K]
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1])
    torch.testing.assert_close(step.inverse(reached), z, rtol=1e-6, atol=1e-8)


def test_a_flow_of_no_steps_is_its_base():
    family = PlanarFamily(LATENT, 0)
    q = family(numbers(5, family.size))
    epsilon = numbers(5, LATENT, seed=1)
    assert isinstance(q, FlowPosterior)
    torch.testing.assert_close(q.sample(epsilon)[1], q.base.sample(epsilon)[1])


def test_the_density_of_a_flow_integrates_to_one():
    family = PlanarFamily(2, 4)
    q = family(0.7 * numbers(1, family.size))
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = q.repeat(len(grid)).log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(mass) - 1) < 1e-3


# -- in models -------------------------------------------------------------------------------------------------------

SPEC = DataSpec("vector", (6,), examples=60)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vae", {"posterior": "full"}),
        ("vae", {"posterior": "mixture"}),
        ("vae", {"posterior": "mixture", "prior": "mixture"}),
        ("flow_vae", {"flow": "planar", "length": 3}),
        ("flow_vae", {"flow": "iaf", "length": 2}),
        ("flow_vae", {"flow": "planar", "length": 0}),
    ],
    ids=str,
)
def test_models_learn_and_bounds_are_ordered(name, options):
    model = create(name, SPEC, latent=2, width=16, **options).train()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(256, 2, generator=generator)
    x = torch.cat([z, z.square() - 1, z.roll(1, dims=1)], dim=1) + 0.1 * torch.randn(256, 6, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    with seeded("learn"):
        for _ in range(150):
            loss = torch.stack([term for term in model.loss(Batch(x)).values() if term.requires_grad]).sum()
            optimizer.zero_grad()
            loss.backward()
            assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in model.parameters() if w.numel())
            optimizer.step()
            losses.append(float(loss.detach()))
    model.eval()
    assert losses[-1] < losses[0] - 1
    one, many = model.log_prob_bound(x).mean(), model.log_prob_bound(x, k=100).mean()
    assert many > one - 0.05
    assert abs(float(one) + sum(losses[-5:]) / 5) < 0.5


def test_families_by_name():
    for name, kind in (("diagonal", DiagonalNormal), ("full", FullNormal), ("mixture", NormalMixture)):
        shape, family = family_named(name, 3)
        assert isinstance(family(torch.randn(2, *shape)), kind)
