from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.grids import time_grid
from exnihilo.probability.paths import VariancePreserving
from exnihilo.probability.projections import (
    agreeing,
    coarse,
    known,
    low_pass,
    walk,
    with_jumps,
)
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.solvers import Ancestral, Denoise, solve
from tests.probability.gaussian import exact_denoiser

TABLE = Discrete(linear_betas())


def correlated(rho: float) -> Denoise:
    """Of N(0, [[1, rho], [rho, 1]])."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (curve[0, 0] for curve in TABLE(t.view(-1, 1)))
        inverse = (alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)).inverse()
        return Prediction(alpha * x @ inverse @ covariance, sigma * x @ inverse)

    return denoise


@pytest.mark.parametrize(("repeats", "mean", "variance"), [(1, 1.248, 0.298), (2, 1.525, 0.227), (5, 1.695, 0.187)])
def test_going_back_brings_the_unknown_nearer_to_its_conditional_law(
    repeats: int, mean: float, variance: float
) -> None:
    n = 6000  # the other entry of N(0, [[1, .9], [.9, 1]]) is 2: exactly N(1.8, .19) is meant
    noise, x = Noise(0, n), torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    times = with_jumps(time_grid(250, 1000), 10, repeats)
    start = noise.normal(2, dtype=torch.float64)
    found = walk(Ancestral(), correlated(0.9), TABLE, start, times, noise, agreeing(TABLE, x, known(mask), noise))
    assert torch.equal(found[:, 0], x[:, 0])
    assert found[:, 1].mean().item() == pytest.approx(mean, abs=0.04)
    assert found[:, 1].var().item() == pytest.approx(variance, abs=0.03)


def test_the_list_of_times_of_the_paper() -> None:
    times = with_jumps(time_grid(250, 1000), 10, 10)
    falls = sum(t > s for t, s in zip(times[:-1], times[1:], strict=True))
    assert falls == 2410  # evaluations: 250 and 24 places with 9 repetitions of 10
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert with_jumps(time_grid(7), 2, 1) == time_grid(7)


def test_the_low_pass_is_a_projection_that_keeps_means() -> None:
    for shape in ((2, 3, 8, 8), (2, 1, 9, 7)):
        x = Noise(0, 2).normal(*shape[1:])
        low = low_pass(x, 4)
        torch.testing.assert_close(low_pass(low, 4), low, rtol=0, atol=1e-6)
        assert (low_pass(x, 1) - x).abs().max() < 1e-6
    square = Noise(0, 2).normal(1, 8, 8)
    torch.testing.assert_close(low_pass(square, 4)[..., :4, :4].mean((-1, -2)), square[..., :4, :4].mean((-1, -2)))


def test_the_coarse_part_of_a_sample_is_that_of_the_example() -> None:
    path, noise = VariancePreserving(), Noise(0, 4)
    x = Noise(1, 4).normal(1, 8, 8)
    start = noise.normal(1, 8, 8)
    found = solve(
        Ancestral(),
        exact_denoiser(path, 0.0, 1.0),
        path,
        start,
        time_grid(20),
        noise,
        agreeing(path, x, coarse(4), noise),
    )
    torch.testing.assert_close(low_pass(found, 4), low_pass(x, 4), rtol=0, atol=1e-5)
    assert (found - x).abs().mean() > 0.5  # the rest is new
