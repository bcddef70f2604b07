from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import Noise, OptionError, Prediction
from exnihilo.probability.paths import Path, VariancePreserving
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.solvers import Ancestral
from exnihilo.probability.transitions import (
    curves,
    posterior_variance,
    renoised,
    transition_scale,
    transition_variance,
)
from exnihilo.probability.variances import Analytic, large, learned, small
from tests.probability.gaussian import Fixed, exact_denoiser

TABLE = Discrete(linear_betas())


def analytic(path: Path, times: list[float], variance: float) -> Analytic:
    """With the error of the exact noise of N(0, variance): alpha^2 variance / (alpha^2 variance + sigma^2)."""
    shares, errors = [], []
    for t in times:
        alpha, sigma = curves(path, t)
        shares.append(sigma / (alpha + sigma))
        errors.append(alpha**2 * variance / (alpha**2 * variance + sigma**2))
    return Analytic(shares, errors)


@pytest.mark.parametrize("variance", [0.01, 0.25, 1.0])
@pytest.mark.parametrize("steps", [2, 5, 50])
def test_the_analytic_variance_is_exact_at_any_number_of_steps(variance: float, steps: int) -> None:
    times = [round(1000 * i / steps) / 1000 for i in range(steps, -1, -1)]
    rule, denoise = analytic(TABLE, times[-2::-1], variance), exact_denoiser(TABLE, 0.0, variance)
    alpha, sigma = curves(TABLE, 1.0)
    now, one = alpha**2 * variance + sigma**2, torch.ones(1, 1, dtype=torch.float64)
    for t, s in zip(times[:-1], times[1:], strict=True):
        gain = float(Ancestral(small).step(denoise, TABLE, one, t, s, Fixed(0.0)))
        now = gain**2 * now + rule.exact(TABLE, s, t)
    assert now == pytest.approx(variance, rel=1e-12)


def test_the_analytic_variance_lies_between_its_bounds() -> None:
    rule, nothing = (
        analytic(TABLE, [i / 1000 for i in range(1, 1001)], 0.25),
        Prediction(torch.zeros(1), torch.zeros(1)),
    )
    for s, t in ((0.1, 0.2), (0.5, 0.9), (0.001, 0.002)):
        assert small(TABLE, s, t, nothing) <= rule(TABLE, s, t, nothing)
        assert rule(TABLE, s, t, nothing) <= large(TABLE, s, t, nothing) * 1.001  # the data have less variance than 1
    assert rule(TABLE, 0.0, 0.1, nothing) == 0


def test_a_learned_variance_lies_between_small_and_large() -> None:
    data, s, t = torch.zeros(1, 3), 0.3, 0.5
    fraction = torch.tensor([[0.0, 0.5, 1.0]])
    found = learned(TABLE, s, t, Prediction(data, data, fraction))
    least, most = posterior_variance(TABLE, s, t), transition_variance(TABLE, s, t)
    torch.testing.assert_close(found, torch.tensor([[least, math.sqrt(least * most), most]]))
    with pytest.raises(OptionError, match="has not learned a variance"):
        learned(TABLE, s, t, Prediction(data, data))


@pytest.mark.parametrize("path", [TABLE, VariancePreserving()])
def test_the_posterior_adds_up_to_the_path(path: Path) -> None:
    s, t = 0.3, 0.7
    (alpha_s, sigma_s), (alpha_t, sigma_t) = curves(path, s), curves(path, t)
    of_data = alpha_s * transition_variance(path, s, t) / sigma_t**2
    of_x = transition_scale(path, s, t) * sigma_s**2 / sigma_t**2
    assert of_data + of_x * alpha_t == pytest.approx(alpha_s, rel=1e-12)
    assert (of_x * sigma_t) ** 2 + posterior_variance(path, s, t) == pytest.approx(sigma_s**2, rel=1e-12)


def test_noise_given_back_has_the_variance_of_the_later_time() -> None:
    path, n = VariancePreserving(), 20000
    alpha, sigma = curves(path, 0.2)
    x = alpha * 0.5 + sigma * Noise(0, n).normal(2, dtype=torch.float64)
    later = renoised(path, x, 0.2, 0.6, Noise(1, n))
    assert later.mean().item() == pytest.approx(0.5 * curves(path, 0.6)[0], abs=0.02)
    assert later.std().item() == pytest.approx(curves(path, 0.6)[1], rel=0.02)
