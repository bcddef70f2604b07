from __future__ import annotations

import math

import pytest
import torch

from exnihilo.probability.paths import Cosine, Path, Straight, SubVariancePreserving, VariancePreserving
from exnihilo.probability.schedules import Discrete, cosine_betas, linear_betas

PATHS = [
    Straight(),
    Cosine(),
    Discrete(linear_betas()),
    Discrete(cosine_betas()),
    VariancePreserving(),
    SubVariancePreserving(),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_begins_at_the_data_and_loses_signal_all_the_way(path: Path) -> None:
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    alpha, sigma = path(t)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert alpha[-1] < 0.01
    assert sigma[-1] == pytest.approx(1, abs=1e-4)
    assert ((alpha[1:] / sigma[1:]).diff() < 0).all()


@pytest.mark.parametrize("path", PATHS)
def test_slopes_are_the_derivatives(path: Path) -> None:
    t, step = torch.linspace(0.05, 0.95, 50, dtype=torch.float64) + 3e-4, 1e-6
    for ahead, behind, slope in zip(path(t + step), path(t - step), path.slopes(t), strict=True):
        torch.testing.assert_close((ahead - behind) / (2 * step), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_answers_have_the_shape_and_type_of_the_time(path: Path) -> None:
    t = torch.rand(4, 1, 1)
    for curve in (*path(t), *path.slopes(t)):
        assert (curve.shape, curve.dtype) == (t.shape, torch.float32)


def test_tables_have_their_published_values() -> None:
    linear, cosine = Discrete(linear_betas()), Discrete(cosine_betas())
    assert linear.steps == cosine.steps == 1000
    assert linear.signal[0] == cosine.signal[0] == 1  # index 0 is the data: nothing is shifted
    assert linear.signal[1].item() == pytest.approx(0.9999, abs=1e-12)
    assert linear.signal[1000].item() == pytest.approx(4.03583e-5, rel=1e-5)
    for index, value in {1: 0.9999587, 500: 0.4938436, 999: 2.42877e-6, 1000: 2.42877e-9}.items():
        assert cosine.signal[index].item() == pytest.approx(value, rel=3e-6)
    assert float(VariancePreserving()(torch.tensor(1.0, dtype=torch.float64))[0] ** 2) == pytest.approx(
        4.31857e-5, rel=1e-5
    )


def test_one_long_step_equals_a_thousand_short_ones() -> None:
    betas = linear_betas()
    signal, variance = 1.0, 0.0
    for beta in betas.tolist():
        signal, variance = signal * math.sqrt(1 - beta), variance * (1 - beta) + beta
    alpha, sigma = Discrete(betas)(torch.tensor(1.0, dtype=torch.float64))
    assert float(alpha) == pytest.approx(signal, rel=1e-12)
    assert float(sigma) ** 2 == pytest.approx(variance, rel=1e-12)


def test_a_single_precision_time_finds_its_own_index() -> None:
    path = Discrete(linear_betas())
    index = torch.arange(1001)
    alpha, sigma = path(index / 1000)  # float32
    torch.testing.assert_close(alpha, path.signal.sqrt().float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(sigma, (1 - path.signal).sqrt().float(), rtol=2e-6, atol=0)


def test_tables_equal_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    for betas, name in ((linear_betas(), "linear"), (cosine_betas(), "squaredcos_cap_v2")):
        theirs = diffusers.DDPMScheduler(1000, beta_schedule=name).alphas_cumprod.double()
        torch.testing.assert_close(Discrete(betas).signal[1:], theirs, rtol=2e-4, atol=1e-8)  # theirs are float32
