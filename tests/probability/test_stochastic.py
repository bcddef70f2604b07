from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import Noise
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.flow_ode import Adaptive, flow_log_prob
from exnihilo.probability.grids import spaced_grid
from exnihilo.probability.paths import (
    Cosine,
    Path,
    Plain,
    Straight,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from exnihilo.probability.solvers import DDIM, NoiseHeun, Sampler, solve
from exnihilo.probability.stochastic import AnnealedLangevin, Churned, EulerMaruyama, Jumps, PredictorCorrector
from exnihilo.probability.transitions import curves
from tests.probability.gaussian import Fixed, exact_denoiser, flow_solution

PATHS: list[Path] = [
    VariancePreserving(), SubVariancePreserving(), Straight(), Cosine(), VarianceExploding(0.01, 20.0), Plain(),
]  # fmt: skip
SAMPLERS: list[Sampler] = [Churned(0.1), PredictorCorrector(1, 0.05), EulerMaruyama(), EulerMaruyama(0.5), Adaptive()]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_samples_have_the_moments_of_the_data(sampler: Sampler, path: Path) -> None:
    n = 2000
    noise = Noise(3, n)
    x = curves(path, 1.0)[1] * noise.normal(2, dtype=torch.float64)
    times = [1.0, path.least, 0.0] if isinstance(sampler, Adaptive) else spaced_grid(path, 150, "log_snr")
    x = solve(sampler, exact_denoiser(path, 0.3, 0.25), path, x, times, noise)
    assert x.mean().item() == pytest.approx(0.3, abs=0.05)
    assert x.std().item() == pytest.approx(0.5, abs=0.03)


def test_a_chain_at_one_noise_level_reaches_its_known_variance() -> None:
    path, level = Plain(0.01, 20.0), 0.5 / 20
    denoise, size = exact_denoiser(path, 0.0, 0.25), 0.2
    inner = AnnealedLangevin(inner=1, size=size)
    c, a = 0.25 + 0.25, size * 0.25  # of x_t, and of the step
    gain = 1 - a / (2 * c)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(inner.step(denoise, path, one, level, level / 2, Fixed(0.0))) == pytest.approx(gain, rel=1e-12)
    assert float(inner.step(denoise, path, 0 * one, level, level / 2, Fixed(1.0))) == pytest.approx(math.sqrt(a))


def test_the_usual_steps_forget_the_noise_of_the_levels_before_better_than_small_ones() -> None:
    path, n = Plain(0.01, 10.0), 4000
    x = 10 * Noise(0, n).normal(1, dtype=torch.float64)
    times, found = spaced_grid(path, 20, "log_snr"), {}
    for size in (0.1, AnnealedLangevin().size):
        found[size] = solve(AnnealedLangevin(5, size), exact_denoiser(path, 0.0, 0.25), path, x, times, Noise(1, n))
        variance = 100.0
        for t in times[:-1]:
            step, whole = size * curves(path, t)[1] ** 2, 0.25 + curves(path, t)[1] ** 2
            for _ in range(5):
                variance = (1 - step / (2 * whole)) ** 2 * variance + step
        assert found[size].std().item() == pytest.approx(math.sqrt(variance), rel=0.04)
    small, usual = (values.std().item() for values in found.values())
    assert abs(usual - 0.5) < 0.6 * abs(small - 0.5)


def test_annealing_finds_the_weights_of_modes_that_plain_langevin_does_not() -> None:
    path, n = Plain(0.1, 20.0), 1000
    means, shares = torch.tensor([-5.0, 5.0]), torch.tensor([0.2, 0.8])

    def denoise(x: torch.Tensor, t: torch.Tensor) -> object:
        sigma = path(t.view(-1, 1))[1]
        variance = 0.25 + sigma.square()
        logits = shares.log() - (x - means).square() / (2 * variance)
        of_mode = (means * sigma.square() + 0.25 * x) / variance
        data = (logits.softmax(dim=1) * of_mode).sum(dim=1, keepdim=True)
        return type(exact_denoiser(path, 0.0, 1.0)(x, t))(data, (x - data) / sigma)

    times = spaced_grid(path, 60, "log_snr")
    start = 20 * Noise(0, n).normal(1)
    annealed = solve(AnnealedLangevin(5, 0.3), denoise, path, start, times, Noise(1, n))  # type: ignore[arg-type]
    assert (annealed > 0).float().mean().item() == pytest.approx(0.8, abs=0.05)
    uniform = 16 * Noise(0, n).uniform(1) - 8
    plain = solve(AnnealedLangevin(300, 0.3), denoise, path, uniform, [0.1 / 20, 0.0], Noise(1, n))  # type: ignore[arg-type]
    assert (plain > 0).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_no_churn_is_the_step_inside() -> None:
    path, x = VariancePreserving(), Noise(1, 5).normal(3, dtype=torch.float64)
    denoise, times = exact_denoiser(path, 0.3, 0.25), spaced_grid(path, 12, "karras")
    plain, churned = (solve(kind, denoise, path, x, times, Noise(0, 5)) for kind in (NoiseHeun(), Churned(0.0)))
    assert torch.equal(plain, churned)


def test_the_adaptive_solver_follows_the_flow() -> None:
    path, x = Straight(), Noise(1, 5).normal(3, dtype=torch.float64)
    found = Adaptive().step(exact_denoiser(path, 0.3, 0.25), path, x, 1.0, 0.2, Noise(0, 5))
    torch.testing.assert_close(found, flow_solution(path, 0.3, 0.25, x, 1.0, 0.2), rtol=0, atol=1e-4)


def test_jumps_keep_the_law_of_an_exact_consistency_function() -> None:
    path, n, mean, variance = Plain(), 20000, 0.3, 0.25
    low = path.low

    def denoise(x: torch.Tensor, t: torch.Tensor) -> object:
        sigma = path(t.view(-1, 1))[1]
        return type(exact_denoiser(path, 0.0, 1.0)(x, t))(
            mean + ((variance + low**2) / (variance + sigma.square())).sqrt() * (x - mean), x
        )

    noise = Noise(0, n)
    start = mean + math.sqrt(variance + path.high**2) * noise.normal(1, dtype=torch.float64)
    x = solve(Jumps(), denoise, path, start, [1.0, 0.3, 0.02, 0.0], noise)  # type: ignore[arg-type]
    assert x.mean().item() == pytest.approx(mean, abs=0.015)
    assert x.var().item() == pytest.approx(variance + low**2, rel=0.03)


@pytest.mark.parametrize("path", [Straight(), Cosine()])
@pytest.mark.parametrize(("steps", "probes"), [(50, 0), (50, 1), (None, 1)])
def test_densities_by_the_flow_are_exact_for_gaussians(path: Path, steps: int | None, probes: int) -> None:
    x = 0.3 + 0.5 * Noise(0, 6).normal(8, dtype=torch.float64)
    found = flow_log_prob(exact_denoiser(path, 0.3, 0.25), path, x, steps=steps, probes=probes)
    alpha, sigma = curves(path, path.least)
    exact = normal_log_prob(x, alpha * 0.3, math.log(alpha**2 * 0.25 + sigma**2)).sum(dim=1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)


def test_a_grid_of_equal_log_snr_and_one_of_karras() -> None:
    path = Plain()
    karras = [80 * t for t in spaced_grid(path, 18, "karras")]
    assert karras[0] == pytest.approx(80)
    assert karras[1] == pytest.approx(57.586, abs=1e-3)
    assert karras[8] == pytest.approx(3.2568, abs=1e-3)
    assert karras[17] == pytest.approx(0.002, rel=1e-6)
    assert karras[18] == 0
    even = torch.tensor(spaced_grid(VariancePreserving(), 10, "log_snr")[:-1], dtype=torch.float64)
    gaps = VariancePreserving().half_log_snr(even).diff()
    torch.testing.assert_close(gaps, gaps[0].expand_as(gaps), rtol=1e-6, atol=0)
    assert spaced_grid(path, 1, "log_snr") == [1.0, 0.0]


def test_ddim_is_euler_in_the_noise_level() -> None:
    path, x = Plain(), Noise(1, 5).normal(3, dtype=torch.float64)
    denoise = exact_denoiser(path, 0.3, 0.25)
    ddim = DDIM().step(denoise, path, x, 0.5, 0.4, Noise(0, 5))
    noise = denoise(x, torch.full((5,), 0.5, dtype=torch.float64)).noise
    torch.testing.assert_close(ddim, x + (0.4 - 0.5) * 80 * noise, rtol=0, atol=1e-10)
