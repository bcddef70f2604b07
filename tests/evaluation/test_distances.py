from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import seeded
from exnihilo.evaluation.distances import (
    STUDENT,
    frechet,
    frechet_bias,
    frechet_interval,
    kernel_distance,
    kernel_interval,
)
from exnihilo.evaluation.statistics import Gaussian


def gaussian(mean: list[float], covariance: Tensor) -> Gaussian:
    return Gaussian(1001, torch.tensor(mean, dtype=torch.float64), covariance.double() * 1000)


def normal(n: int, d: int, key: object = 0) -> Tensor:
    with seeded("normal", key):
        return torch.randn(n, d, dtype=torch.float64)


def test_frechet_of_commuting_gaussians() -> None:
    a = gaussian([0, 0, 0], torch.diag(torch.tensor([1.0, 4, 9])))
    b = gaussian([1, 2, 2], torch.diag(torch.tensor([4.0, 1, 9])))
    assert frechet(a, b) == pytest.approx(11, rel=1e-12)


def test_frechet_of_gaussians_that_do_not_commute() -> None:
    a, b = torch.tensor([[2.0, 1], [1, 2]]), torch.diag(torch.tensor([1.0, 3]))
    assert frechet(gaussian([0, 0], a), gaussian([0, 0], b)) == pytest.approx(0.516685226, rel=1e-8)


def test_frechet_to_itself_is_zero_also_of_singular_sets() -> None:
    assert frechet(Gaussian.of(normal(100, 8)), Gaussian.of(normal(100, 8))) < 1e-8
    line = normal(50, 1) @ torch.ones(1, 6, dtype=torch.float64)
    assert frechet(Gaussian.of(line), Gaussian.of(line)) < 1e-8
    assert frechet(Gaussian.of(line), Gaussian.of(line + 1)) == pytest.approx(6, rel=1e-6)


def test_frechet_does_not_mind_shifts_rotations_and_order() -> None:
    x, y = normal(200, 5, "x"), normal(300, 5, "y") * 1.5 + 0.3
    rotation = torch.linalg.qr(normal(5, 5)).Q
    plain = frechet(Gaussian.of(x), Gaussian.of(y))
    assert frechet(Gaussian.of(x + 7), Gaussian.of(y + 7)) == pytest.approx(plain, rel=1e-9)
    assert frechet(Gaussian.of(x @ rotation), Gaussian.of(y @ rotation)) == pytest.approx(plain, rel=1e-9)
    assert frechet(Gaussian.of(y), Gaussian.of(x)) == pytest.approx(plain, rel=1e-9)
    projected = frechet(Gaussian.of(x[:, :3]), Gaussian.of(y[:, :3]))
    assert projected <= plain


def test_frechet_equals_scipy_and_torchmetrics() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    metric = pytest.importorskip("torchmetrics.image.fid")
    x, y = normal(400, 12, "x").abs(), normal(500, 12, "y").exp()
    a, b = Gaussian.of(x), Gaussian.of(y)
    root = linalg.sqrtm((a.covariance @ b.covariance).numpy()).real
    expected = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * torch.tensor(root).trace()
    assert frechet(a, b) == pytest.approx(expected.item(), rel=1e-6)
    theirs = metric._compute_fid(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet(a, b) == pytest.approx(theirs.item(), rel=1e-6)


def test_the_predicted_bias_is_what_finite_samples_show() -> None:
    scales = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1, 0.05, 0.01], dtype=torch.float64)
    predicted = frechet_bias(torch.diag(scales), 500, 500)
    assert predicted == pytest.approx(0.0698, abs=5e-5)
    pairs = [(normal(500, 8, (i, "a")) * scales.sqrt(), normal(500, 8, (i, "b")) * scales.sqrt()) for i in range(60)]
    shown = torch.tensor([frechet(Gaussian.of(a), Gaussian.of(b)) for a, b in pairs])
    assert abs(shown.mean() - predicted) < 3 * shown.std() / math.sqrt(60) + 0.0025
    identity = frechet_bias(torch.eye(6), 100, 50)
    assert identity == pytest.approx((1 / 100 + 1 / 50) * (6 + (36 + 6) / 4), rel=1e-12)


def test_the_frechet_interval_is_as_wide_as_repetitions_differ() -> None:
    reference = Gaussian.of(normal(300, 6))
    draws = [normal(600, 6, ("again", i)) * 1.1 + 0.3 for i in range(40)]
    spread = torch.tensor([frechet(reference, Gaussian.of(x)) for x in draws]).std().item()
    claimed = sum(frechet_interval(x, reference, seed=i) for i, x in enumerate(draws[:10])) / 10 / STUDENT[19]
    assert 0.75 * spread < claimed < 1.35 * spread


def test_the_kernel_distance_by_hand_and_against_a_double_loop() -> None:
    x, y = torch.tensor([[0.0], [2.0]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    assert kernel_distance(x, y) == pytest.approx(-19, rel=1e-12)
    x, y = normal(7, 3, "x"), normal(5, 3, "y")
    k = lambda a, b: ((a @ b) / 3 + 1).item() ** 3  # noqa: E731
    expected = (
        sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 42
        + sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 20
        - 2 * sum(k(a, b) for a in x for b in y) / 35
    )
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_the_kernel_distance_reaches_its_population_value() -> None:
    shift = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    draws = [kernel_distance(normal(800, 4, (i, "x")), normal(800, 4, (i, "y")) + shift) for i in range(20)]
    values = torch.tensor(draws)
    assert abs(values.mean() - 1.328125) < 3 * values.std() / math.sqrt(20)


def test_the_kernel_distance_is_unbiased_under_the_null() -> None:
    values = torch.tensor([kernel_distance(normal(60, 4, (i, "x")), normal(40, 4, (i, "y"))) for i in range(200)])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(200)
    assert (values < 0).any()


def test_the_kernel_distance_equals_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(300, 16, "x"), normal(300, 16, "y") * 1.2
    assert kernel_distance(x, y) == pytest.approx(kid.poly_mmd(x, y).item(), rel=1e-6)


def test_the_kernel_interval_covers_the_truth_most_times() -> None:
    shift = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    hits = 0
    for i in range(60):
        x, y = normal(300, 4, (i, "x")), normal(300, 4, (i, "y")) + shift
        hits += abs(kernel_distance(x, y) - 1.328125) < kernel_interval(x, y)
    assert hits >= 51
