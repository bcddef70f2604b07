"""Categorical codes: golden divergence, draws, straight-through gradients, and bounds against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, create, seeded
from exnihilo.models.autoencoders.discrete import CategoricalVAE, gumbel_softmax, hard, straight_through
from exnihilo.probability.divergences import kl_categorical

torch.set_num_threads(1)
BITS = DataSpec("vector", (4,), levels=2, examples=50)


def model(**options: object) -> CategoricalVAE:
    made = create("categorical_vae", BITS, latent=2, categories=3, width=16, **options)
    assert isinstance(made, CategoricalVAE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in made.parameters():
            weight.data = 0.6 * torch.randn_like(weight)
    return made.double()


def everything() -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)


def all_codes() -> Tensor:
    """[9, 2, 3]."""
    index = torch.tensor(list(itertools.product(range(3), repeat=2)))
    return one_hot(index, 3).double()


def joint(made: CategoricalVAE, x: Tensor) -> Tensor:
    """[B, 9] log p(x | z) of every code."""
    return torch.stack(
        [made.likelihood.log_prob(made.parameters_of(z[None].expand(len(x), -1, -1)), x) for z in all_codes()], dim=1
    )


def test_golden_divergence():
    """Likelihood card G8."""
    logits = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    assert abs(float(kl_categorical(logits)) - 0.29679374) < 1e-8


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_largest_entries_are_distributed_as_the_categories(temperature):
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    with seeded("gumbel"):
        y = gumbel_softmax(p.log().expand(50_000, -1), temperature)
    torch.testing.assert_close(y.sum(dim=1), torch.ones(50_000))
    counts = torch.bincount(y.argmax(dim=1), minlength=4)
    chi_squared = ((counts - 50_000 * p).square() / (50_000 * p)).sum()
    assert chi_squared < 21.1  # p = 1e-4 with three degrees of freedom


def test_straight_through_is_one_hot_with_a_soft_gradient():
    logits = torch.randn(5, 3, requires_grad=True)
    weights = torch.randn(3)
    with seeded("a"):
        soft = gumbel_softmax(logits, 0.7)
    z = straight_through(soft)
    torch.testing.assert_close(z.detach(), hard(soft.detach()))
    found = torch.autograd.grad((z * weights).sum(), logits, retain_graph=True)[0]
    torch.testing.assert_close(found, torch.autograd.grad((soft * weights).sum(), logits)[0])
    assert found.abs().max() > 0


def test_bound_is_the_enumerated_one():
    made, x = model(), everything()[:5]
    log_q = made.logits(x).log_softmax(dim=2)
    weights = torch.einsum("bi,bj->bij", log_q[:, 0].exp(), log_q[:, 1].exp()).flatten(1)  # in the order of all_codes
    exact = (weights * joint(made, x)).sum(dim=1) - kl_categorical(made.logits(x)).sum(dim=1)
    draws = made.log_prob_bound(x.repeat_interleave(4000, dim=0), seed=1).view(5, 4000)
    error = draws.std(dim=1) / 4000**0.5
    assert ((draws.mean(dim=1) - exact).abs() < 4 * error).all()


def test_many_importance_samples_reach_the_exact_log_probability():
    made, x = model(), everything()
    made.encoder.head.weight.data *= 0.2  # a posterior that covers the true one
    log_joint = joint(made, x).detach() - math.log(9)
    exact = log_joint.logsumexp(dim=1)
    assert abs(float(exact.exp().sum()) - 1) < 1e-9  # p sums to one
    log_q = made.logits(x).detach().log_softmax(dim=2)
    log_q = (log_q[:, 0, :, None] + log_q[:, 1, None]).flatten(1)  # in the order of all_codes
    k = 30_000
    relative = (2 * (log_joint - exact[:, None]) - log_q).logsumexp(dim=1).exp() - 1  # variance of a weight over p(x)
    error = (relative / k).sqrt()
    assert error.median() < 0.02
    assert ((made.log_prob_bound(x, k=k) - exact).abs() < 4 * error).all()
    assert made.log_prob_bound(x.repeat(300, 1)).mean() < exact.mean()


def test_samples_follow_the_exact_probabilities():
    made = model().float()
    x = made.sample(20_000, seed=2)
    index = (x @ torch.tensor([8.0, 4, 2, 1])).long()
    share = torch.bincount(index, minlength=16) / 20_000
    exact = (joint(made.double(), everything()).logsumexp(dim=1).detach() - math.log(9)).exp()
    assert (share - exact).abs().max() < 5 * (exact * (1 - exact) / 20_000).sqrt().max()


def test_the_temperature_falls_to_its_coldest():
    made = model(coldest=0.4)
    found = []
    for made.progress in (0.0, 0.1, 0.2, 0.3, 1.0):
        found.append(made.temperature)
    assert found[0] == 1
    assert sorted(found, reverse=True) == found
    assert found[-2:] == [0.4, 0.4]


@pytest.mark.parametrize("relaxation", ["soft", "straight_through"])
def test_it_learns(relaxation):
    made = create("categorical_vae", BITS, latent=2, categories=4, width=16, coldest=0.4, relaxation=relaxation)
    x = everything()[[0, 3, 12, 15]].float().repeat(16, 1)  # two bits, each twice
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    with seeded("learn"):
        for step in range(200):
            made.progress = step / 200
            loss = torch.stack([term for term in made.loss(Batch(x)).values() if term.requires_grad]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert made.log_prob_bound(x, k=50).mean() > -2.0  # -1.386 is best, -2.77 without a code
    assert tuple(made.encode(x).shape) == (64, 2, 4)
    torch.testing.assert_close((made.reconstruct(x) > 0.5).float(), x)
