"""Associative memories: energies fall, cues come back, capacities are what they are said to be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from exnihilo.core import DataSpec, ModelError, Noise, create
from exnihilo.data import load_data
from exnihilo.models.energy import Hopfield, ModernHopfield
from exnihilo.models.energy.hopfield import CAPACITY, hebbian, pseudo_inverse
from exnihilo.models.energy.pairwise import Pairwise, settle
from exnihilo.training import train


def spins(rows: int, units: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], size=(rows, units))).float()


def flipped(s: Tensor, share: float, seed: int = 1) -> Tensor:
    turned = torch.from_numpy(np.random.default_rng(seed).random(s.shape) < share)
    return torch.where(turned, -s, s)


def memory(patterns: Tensor, storage: str = "hebbian") -> Hopfield:
    model = create("hopfield", DataSpec("vector", (patterns.shape[1],), levels=2), storage=storage)
    assert isinstance(model, Hopfield)
    model.patterns = patterns
    model.weight.copy_(model.storage(patterns))
    return model


# -- the classic network ---------------------------------------------------------------------------------------------


def test_every_turn_lowers_the_energy() -> None:
    weight = hebbian(spins(30, 40))  # far beyond the capacity: a rugged energy
    s = spins(8, 40, seed=3)
    energies = []
    for _ in range(6):
        energies.append(-0.5 * ((s @ weight) * s).sum(dim=1))
        s = settle(weight, s, sweeps=1)
    changes = torch.stack(energies).diff(dim=0)
    assert (changes <= 1e-5).all()
    assert (changes < -1e-3).any()
    rested = settle(weight, s)
    force = rested @ weight
    assert (force * rested >= 0).all()


@pytest.mark.parametrize("storage", ["hebbian", "pseudo_inverse"])
def test_eight_patterns_of_a_hundred_come_back_from_a_tenth_of_flips(storage: str) -> None:
    patterns = spins(8, 100)
    model = memory(patterns, storage)
    x = (flipped(patterns, 0.1) + 1) / 2
    assert torch.equal(model.reconstruct(x), (patterns + 1) / 2)
    assert (model.energy(model.reconstruct(x)) <= model.energy(x)).all()


def test_hebbs_rule_holds_up_to_its_capacity_and_fails_beyond() -> None:
    def kept(load: float) -> float:
        patterns = spins(int(load * 400), 400)
        return float((settle(hebbian(patterns), patterns) == patterns).float().mean())

    assert kept(0.5 * CAPACITY) > 0.995
    assert kept(CAPACITY * 1.6) < 0.9
    assert memory(spins(2, 400)).capacity == 55


def test_the_pseudo_inverse_holds_patterns_that_resemble_each_other() -> None:
    patterns = flipped(spins(1, 100).repeat(20, 1), 0.2)
    assert torch.equal(settle(pseudo_inverse(patterns), patterns), patterns)
    assert not torch.equal(settle(hebbian(patterns), patterns), patterns)


def test_a_cue_brings_back_the_rest() -> None:
    patterns = spins(5, 100)
    model = memory(patterns)
    x = (patterns + 1) / 2
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, :40] = True
    cue = torch.where(mask, x, 1 - x)  # what is hidden must not be read
    assert torch.equal(model.impute(cue, mask), x)
    wrong = x.clone()
    wrong[:, 0] = 1 - wrong[:, 0]
    assert torch.equal(model.impute(wrong, mask)[:, 0], wrong[:, 0])  # held, though it is wrong


def test_sampling_follows_the_temperature() -> None:
    patterns = spins(2, 6)
    model = memory(patterns)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    exact = (-model.energy(every) / 0.7).softmax(dim=0)
    model.chunk = 20000
    x = model.sample(20000, seed=0, temperature=0.7, sweeps=30)
    found = torch.bincount(x.long() @ (2 ** torch.arange(5, -1, -1)), minlength=64) / 20000
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(64 / (2 * math.pi * 20000))
    still = model.sample(50, seed=0, temperature=0)
    assert torch.equal(model.reconstruct(still), still)


def test_spins_and_bits_have_one_energy() -> None:
    weight = hebbian(spins(3, 7))
    bias = torch.linspace(-1, 1, 7)
    machine, constant = Pairwise.of_spins(weight, bias)
    s = spins(9, 7, seed=2)
    direct = -0.5 * ((s @ weight) * s).sum(dim=1) - s @ bias
    torch.testing.assert_close(machine.energy((s + 1) / 2) + constant, direct)


def test_it_stores_examples_of_the_data() -> None:
    data = load_data(((spins(60, 30) + 1) / 2).int().numpy())
    model = create("hopfield", data)
    assert isinstance(model, Hopfield)
    train(model, data, steps=1, progress=False, threads=1)
    assert model.patterns.shape == (4, 30)
    x = data.split("train").first().x
    assert all((model.shown(row[None]) == x).all(dim=1).any() for row in model.patterns)
    with pytest.raises(ModelError, match="bits"):
        create("hopfield", load_data(np.random.default_rng(0).normal(size=(60, 4))))


# -- the modern network ----------------------------------------------------------------------------------------------


def modern(patterns: Tensor, **options: object) -> ModernHopfield:
    model = create("modern_hopfield", DataSpec("vector", (patterns.shape[1],)), **options)
    assert isinstance(model, ModernHopfield)
    model.remember(patterns)
    return model


@pytest.mark.parametrize("similarity", ["euclidean", "dot"])
def test_golden_retrieval(similarity: str) -> None:
    model = modern(2 * torch.eye(3), beta=1.0, similarity=similarity)
    moved = model.retrieve(torch.tensor([[1.0, 0.2, 0.0]]), steps=1)
    torch.testing.assert_close(moved[0].tolist(), [1.49562701, 0.30196189, 0.2024111], atol=1e-6, rtol=0)


def test_the_papers_energy_and_the_density_differ_by_a_constant() -> None:
    torch.manual_seed(0)
    patterns, x = torch.randn(5, 3), torch.randn(7, 3)
    model = modern(patterns, beta=1.7, similarity="dot")
    energy = -(1.7 * x @ patterns.T).logsumexp(dim=1) / 1.7 + 0.5 * x.square().sum(dim=1)
    difference = 1.7 * energy + model.log_prob(x)
    torch.testing.assert_close(difference, difference[:1].expand(7), atol=1e-4, rtol=0)
    step = model.retrieve(x, steps=1)
    torch.testing.assert_close(step - x, model.score(x) / 1.7, atol=1e-5, rtol=1e-4)  # a descent of it
    after = -(1.7 * step @ patterns.T).logsumexp(dim=1) / 1.7 + 0.5 * step.square().sum(dim=1)
    assert (after <= energy + 1e-6).all()


@pytest.mark.parametrize("similarity", ["euclidean", "dot"])
def test_the_density_integrates_to_one_and_is_sampled(similarity: str) -> None:
    torch.manual_seed(0)
    model = modern(torch.randn(4, 2), beta=2.0, similarity=similarity)
    line = torch.linspace(-7, 7, 281)
    grid = torch.cartesian_prod(line, line)
    p = model.log_prob(grid).exp() * 0.05**2
    assert float(p.sum()) == pytest.approx(1, abs=1e-3)
    model.chunk = 20000
    x = model.sample(20000, seed=0)
    torch.testing.assert_close(x.mean(dim=0), p @ grid, atol=0.03, rtol=0)


def test_one_step_brings_back_far_more_than_the_classic_network_holds() -> None:
    patterns = spins(300, 40)
    model = modern(patterns, beta=1.0)
    torch.testing.assert_close(model.retrieve(flipped(patterns, 0.05), steps=1).sign(), patterns)
    assert model.stored() == 1
    x, mask = patterns[:20].clone(), torch.zeros(20, 40, dtype=torch.bool)
    mask[:, :24] = True
    x[:, 24:] = 5.0
    assert torch.equal(model.impute(x, mask).sign(), patterns[:20])


def test_long_patterns_win_by_the_dot_product_only() -> None:
    patterns = torch.tensor([[1.0, 0.0], [4.0, 0.5]])
    cue = patterns[:1]
    assert torch.equal(modern(patterns, beta=4.0).reconstruct(cue).round(), cue)
    assert not torch.equal(modern(patterns, beta=4.0, similarity="dot").reconstruct(cue).round(), cue)
    assert modern(patterns, beta=4.0, similarity="dot").stored() == 0.5


def test_sharpness_by_default_is_scotts() -> None:
    torch.manual_seed(0)
    model = modern(torch.randn(1000, 2))
    assert float(model.sharpness) == pytest.approx(1000 ** (1 / 3), rel=0.1)
    assert len(model.draw(Noise(0, 3))) == 3
