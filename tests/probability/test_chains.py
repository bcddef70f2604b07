"""Chains reach what they should, and annealed importance sampling finds known normalisers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.chains import (
    Chance,
    TorchChance,
    annealed_importance,
    annealing_schedule,
    clamped,
    log_mean_exp,
    run_chain,
)


def autoregression(x: Tensor, chance: Chance) -> Tensor:
    """x' = 0.5 x + noise, whose stationary distribution is N(0, 4 / 3)."""
    return 0.5 * x + chance.like(x)


@pytest.mark.parametrize("kind", ["noise", "torch"])
def test_a_chain_reaches_its_stationary_distribution(kind: str) -> None:
    torch.manual_seed(0)
    chance: Chance = Noise(0, 4000) if kind == "noise" else TorchChance()
    x = run_chain(autoregression, torch.full((4000, 2), 10.0), 30, chance)
    assert x.mean().abs() < 0.05
    assert abs(float(x.var()) - 4 / 3) < 0.08


@pytest.mark.parametrize("kind", ["noise", "torch"])
def test_chance_has_the_asked_probabilities(kind: str) -> None:
    torch.manual_seed(0)
    chance: Chance = Noise(0, 5000) if kind == "noise" else TorchChance()
    probability = torch.tensor([0.0, 0.3, 1.0]).expand(5000, -1)
    draws = chance.bernoulli(probability)
    assert draws.unique().tolist() == [0.0, 1.0]
    torch.testing.assert_close(draws.mean(dim=0), probability[0], atol=0.03, rtol=0)
    assert draws[:, 0].sum() == 0
    assert draws[:, 2].min() == 1


def test_clamped_entries_stay() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, False, True]])
    end = run_chain(clamped(autoregression, x, mask), x, 20, Noise(0, 1))
    assert end[0, [0, 2]].tolist() == [1.0, 3.0]
    assert end[0, 1] != 2.0


def test_the_end_of_a_chain_does_not_depend_on_its_neighbours() -> None:
    together = run_chain(autoregression, torch.zeros(6, 3), 5, Noise(3, 6))
    alone = run_chain(autoregression, torch.zeros(1, 3), 5, Noise(3, [4]))
    assert torch.equal(together[4:5], alone)


def test_annealed_importance_finds_a_gaussians_normaliser() -> None:
    precision = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)

    def between(t: float) -> Tensor:
        return (1 - t) + t * precision

    def log_density(t: float, x: Tensor) -> Tensor:
        return -0.5 * (between(t) * x.square()).sum(dim=1)

    def kernel(t: float, x: Tensor, chance: Chance) -> Tensor:
        return chance.like(x) / between(t).sqrt()

    noise = Noise(0, 500)
    start = noise.normal(3, dtype=torch.float64)
    estimate = log_mean_exp(annealed_importance(log_density, kernel, start, annealing_schedule(300), noise))
    exact = -0.5 * float(precision.log().sum())
    assert estimate.low < exact < estimate.high
    assert abs(estimate.value - exact) < 0.05
    assert estimate.effective > 250


def test_schedule_rises_from_zero_to_one_and_dwells_near_one() -> None:
    schedule = annealing_schedule(1000)
    assert len(schedule) == 1001
    assert schedule[0] == 0
    assert schedule[-1] == 1
    assert (schedule.diff() > 0).all()
    assert (schedule > 0.9).float().mean() > 0.6


def test_log_mean_exp_of_large_weights() -> None:
    estimate = log_mean_exp(torch.tensor([1000.0, 1000.0 + math.log(3)], dtype=torch.float64))
    assert estimate.value == pytest.approx(1000 + math.log(2), abs=1e-9)
    assert estimate.effective == pytest.approx(16 / 10)
    equal = log_mean_exp(torch.full((5,), -3.0))
    assert equal.low == pytest.approx(equal.high) == pytest.approx(-3.0)
