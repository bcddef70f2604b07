from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.grids import time_grid
from exnihilo.probability.paths import Cosine, Path, Straight, VariancePreserving
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.solvers import DDIM, Ancestral, Denoise, Euler, Heun, NoiseHeun, Sampler, solve
from exnihilo.probability.transitions import curves, posterior_variance, transition_variance
from exnihilo.probability.variances import Variance, large, small
from tests.probability.gaussian import Fixed, exact_denoiser, flow_solution

TABLE = Discrete(linear_betas())
SAMPLERS: list[Sampler] = [DDIM(), DDIM(0.5), DDIM(1.0), Ancestral(), Ancestral(large), Euler(), Heun(), NoiseHeun()]


def final_variance(sampler: Sampler, variance: float, steps: int) -> float:
    """Of samples of N(0, variance): a sampler with a linear denoiser does x -> gain x + spread z in every step."""
    denoise, times = exact_denoiser(TABLE, 0.0, variance), time_grid(steps, 1000)
    alpha, sigma = curves(TABLE, 1.0)
    now = alpha**2 * variance + sigma**2
    one, nothing = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t, s in zip(times[:-1], times[1:], strict=True):
        gain = float(sampler.step(denoise, TABLE, one, t, s, Fixed(0.0)))
        spread = float(sampler.step(denoise, TABLE, nothing, t, s, Fixed(1.0)))
        now = gain**2 * now + spread**2
    return now


@pytest.mark.parametrize(
    ("variance", "steps", "least", "most", "ddim"),
    [
        (0.25, 10, 0.11121, 0.24394, 0.13686), (0.25, 50, 0.19722, 0.26186, 0.22221),
        (0.25, 1000, 0.24613, 0.25075, 0.24849), (1.0, 10, 0.54833, 0.89702, 0.68785),
        (1.0, 50, 0.85741, 0.99423, 0.92843), (0.01, 10, 0.00076, 0.00220, 0.00078),
        (0.01, 50, 0.00466, 0.01067, 0.00550),
    ],
)  # fmt: skip
def test_variances_of_gaussian_samples(variance: float, steps: int, least: float, most: float, ddim: float) -> None:
    assert final_variance(Ancestral(), variance, steps) == pytest.approx(least, abs=6e-6)
    assert final_variance(Ancestral(large), variance, steps) == pytest.approx(most, abs=6e-6)
    assert final_variance(DDIM(), variance, steps) == pytest.approx(ddim, abs=6e-6)


@pytest.mark.parametrize("path", [TABLE, Straight(), Cosine()])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_of_an_exact_denoiser_have_the_moments_of_the_data(sampler: Sampler, path: Path) -> None:
    n, mean, variance = 4000, 0.7, 0.25
    noise = Noise(3, n)
    x = noise.normal(2, dtype=torch.float64)
    x = solve(sampler, exact_denoiser(path, mean, variance), path, x, time_grid(250, 1000), noise)
    assert x.mean().item() == pytest.approx(mean, abs=0.03)
    assert x.std().item() == pytest.approx(math.sqrt(variance), abs=0.02)


@pytest.mark.parametrize("path", [Straight(), Cosine()])
@pytest.mark.parametrize(("sampler", "order"), [(Euler(), 1), (DDIM(), 1), (Heun(), 2)])
def test_errors_fall_with_the_order_of_the_solver(sampler: Sampler, order: int, path: Path) -> None:
    x = torch.tensor([[1.7]], dtype=torch.float64)
    exact = flow_solution(path, 0.3, 0.25, x, 1.0, 0.0)
    denoise = exact_denoiser(path, 0.3, 0.25)
    errors = [
        abs(float(solve(sampler, denoise, path, x, time_grid(steps), Noise(0)) - exact)) for steps in (80, 160, 320)
    ]
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_ddim_makes_its_known_errors() -> None:
    path, x = VariancePreserving(), torch.tensor([[1.7]], dtype=torch.float64)
    denoise = exact_denoiser(path, 0.3, 0.25)
    first, last = (math.log(alpha / sigma) for alpha, sigma in (curves(path, 1.0), curves(path, 1e-3)))
    for steps, error in {10: 1.81e-1, 20: 9.58e-2, 40: 4.93e-2, 80: 2.50e-2, 160: 1.26e-2, 320: 6.33e-3}.items():
        times = path.time_of(torch.linspace(first, last, steps + 1, dtype=torch.float64)).tolist()
        found = solve(DDIM(), denoise, path, x, times, Noise(0))
        exact = flow_solution(path, 0.3, 0.25, x, times[0], times[-1])
        assert abs(float(found - exact)) == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize("path", [TABLE, Straight(), Cosine()])
def test_ddim_with_all_its_noise_is_ancestral_sampling(path: Path) -> None:
    denoise, times = exact_denoiser(path, 0.3, 0.25), time_grid(25, 1000)
    x = Noise(1, 5).normal(3, dtype=torch.float64)
    ddim = solve(DDIM(1.0), denoise, path, x, times, Noise(2, 5))
    ancestral = solve(Ancestral(), denoise, path, x, times, Noise(2, 5))
    torch.testing.assert_close(ddim, ancestral, rtol=0, atol=1e-10)


def test_euler_on_the_straight_path_is_ddim() -> None:
    denoise, times = exact_denoiser(Straight(), 0.3, 0.25), time_grid(25)
    x = Noise(1, 5).normal(3, dtype=torch.float64)
    euler, ddim = (solve(sampler, denoise, Straight(), x, times, Noise(2, 5)) for sampler in (Euler(), DDIM()))
    torch.testing.assert_close(euler, ddim, rtol=0, atol=1e-12)


def test_solving_back_to_the_noise_and_again_to_the_data() -> None:
    path, times, noise = Cosine(), time_grid(200), Noise(2, 5)
    denoise = exact_denoiser(path, 0.3, 0.25)
    t0 = times[-2]  # the exact denoiser divides by sigma = 0 at the data
    x = Noise(1, 5).normal(3, dtype=torch.float64)
    code = solve(Heun(), denoise, path, x, times[-2::-1], noise)
    torch.testing.assert_close(code, flow_solution(path, 0.3, 0.25, x, t0, 1.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(solve(Heun(), denoise, path, code, times[:-1], noise), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(1.0), Ancestral(), Ancestral(large), Euler(), Heun(), NoiseHeun()])
def test_the_last_step_is_the_expected_data_without_noise(sampler: Sampler) -> None:
    x = Noise(1, 5).normal(3, dtype=torch.float64)
    path: Path = Straight() if isinstance(sampler, Euler | Heun) else TABLE
    denoise = exact_denoiser(path, 0.3, 0.25)
    t = 1 / 1000 if path is TABLE else 0.25
    expected = denoise(x, torch.full((5,), t, dtype=torch.float64)).data
    torch.testing.assert_close(sampler.step(denoise, path, x, t, 0.0, Fixed(100.0)), expected, rtol=0, atol=1e-12)


def test_noise_is_added_in_every_other_step() -> None:
    denoise, x = exact_denoiser(TABLE, 0.0, 1.0), torch.zeros(1, 1, dtype=torch.float64)
    for t, s in ((1.0, 0.9), (0.002, 0.001)):
        for rule, variance in ((small, posterior_variance(TABLE, s, t)), (large, transition_variance(TABLE, s, t))):
            step = Ancestral(rule).step(denoise, TABLE, x, t, s, Fixed(1.0))
            assert float(step) ** 2 == pytest.approx(variance, rel=1e-9)


def test_variances_between_neighbours_are_those_of_the_paper() -> None:
    betas, signal = linear_betas(), TABLE.signal
    for i in (1, 2, 500, 1000):
        s, t = (i - 1) / 1000, i / 1000
        assert transition_variance(TABLE, s, t) == pytest.approx(float(betas[i - 1]), rel=1e-9)
        of_paper = (1 - signal[i - 1]) / (1 - signal[i]) * betas[i - 1]  # Eq. 7
        assert posterior_variance(TABLE, s, t) == pytest.approx(float(of_paper), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("steps", [1, 7, 50, 333, 1000])
def test_the_grid_visits_trained_levels_from_the_noise_to_the_data(steps: int) -> None:
    times = time_grid(steps, 1000)
    assert (len(times), times[0], times[-1]) == (steps + 1, 1.0, 0.0)
    assert all(t > s for t, s in zip(times[:-1], times[1:], strict=True))
    assert all(t * 1000 == pytest.approx(round(t * 1000), abs=1e-9) for t in times)
    assert len(time_grid(2000, 1000)) == 1001


@pytest.mark.parametrize("rule", [small, large])
def test_an_ancestral_step_equals_diffusers(rule: Variance) -> None:
    diffusers = pytest.importorskip("diffusers")
    variance = "fixed_large" if rule is large else "fixed_small"
    theirs = diffusers.DDPMScheduler(1000, variance_type=variance, clip_sample=False, timestep_spacing="trailing")
    theirs.set_timesteps(50)
    x, answer = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.full((2, 3, 4, 4), 0.3)
    times = time_grid(50, 1000)
    for place in (0, 20, 48) if rule is large else (0, 20, 48, 49):  # theirs adds the large noise at the data too
        assert round(times[place] * 1000) - 1 == int(theirs.timesteps[place])
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
        other = theirs.step(answer, theirs.timesteps[place], x, generator=torch.Generator().manual_seed(5)).prev_sample
        ours = Ancestral(rule).step(told(answer), TABLE, x, times[place], times[place + 1], Fixed(z))
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=2e-5 * float(other.abs().max()))


def test_a_ddim_run_equals_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(1000, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    theirs.set_timesteps(50)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    other = x
    for t in theirs.timesteps:
        other = theirs.step(0.8 * torch.tanh(other), t, other).prev_sample

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return told(0.8 * torch.tanh(x))(x, t)

    ours = solve(DDIM(), denoise, TABLE, x, time_grid(50, 1000), Noise(0))
    torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def told(answer: Tensor) -> Denoise:
    """A denoiser whose network always predicts one noise."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = TABLE(t.view(-1, 1, 1, 1))
        return Prediction((x - sigma * answer) / alpha, answer)

    return denoise
