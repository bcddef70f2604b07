from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exnihilo.core import seeded
from exnihilo.evaluation.coverage import (
    class_shares,
    density_coverage,
    expected_coverage,
    modes,
    precision_recall,
    share_distance,
    wilson,
)


def normal(n: int, d: int = 4, key: object = 0) -> Tensor:
    with seeded("coverage", key):
        return torch.randn(n, d, dtype=torch.float64)


def test_identical_sets_are_perfect() -> None:
    x = normal(200)
    assert precision_recall(x, x) == (1.0, 1.0)
    density, coverage = density_coverage(x, x)
    assert density == pytest.approx(1.0)  # the strict inequality; <= would give (k + 1) / k
    assert coverage == 1.0


def test_disjoint_sets_share_nothing() -> None:
    assert precision_recall(normal(100), normal(100, key=1) + 100) == (0.0, 0.0)
    assert density_coverage(normal(100), normal(100, key=1) + 100) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_and_not_diverse() -> None:
    real = normal(300)
    precision, recall = precision_recall(real, real[7].expand(300, -1))
    assert precision == 1.0  # swapped roles would report the opposite, as a well-known library did for years
    assert recall <= 1 / 300 + 1e-12
    density, coverage = density_coverage(real, real[7].expand(300, -1))
    assert coverage < 0.1
    assert density > 0.5


def test_fresh_samples_have_the_expected_density_and_coverage() -> None:
    assert expected_coverage(1000, 1000, 5) == pytest.approx(0.96898, abs=5e-6)
    pairs = [density_coverage(normal(150, key=(i, "a")), normal(150, key=(i, "b"))) for i in range(40)]
    density, coverage = torch.tensor(pairs).mean(dim=0).tolist()
    assert density == pytest.approx(1.0, abs=0.05)
    assert coverage == pytest.approx(expected_coverage(150, 150), abs=0.01)


def test_wilsons_interval() -> None:
    low, high = wilson(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 50)[1] == pytest.approx(1.0)
    assert 0 < wilson(0.0, 50)[1] < 0.1


def test_modes_count_classes_that_are_really_reached() -> None:
    real = class_shares(torch.arange(10).repeat(10), 10)
    samples = torch.cat([torch.zeros(500), torch.ones(495), torch.full((5,), 2.0)]).long()
    shares = class_shares(samples, 10)
    assert modes(real, real) == 10
    assert modes(shares, real) == 2  # five stray samples do not make a class
    assert share_distance(shares, real) == pytest.approx(0.795)
    assert share_distance(real, real) == 0
    assert class_shares(torch.tensor([-1, 0, 1]), 2).tolist() == [0.5, 0.5]
