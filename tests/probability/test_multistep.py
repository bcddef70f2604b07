from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction
from exnihilo.probability.grids import time_grid
from exnihilo.probability.multistep import PLMS, DPMSolver, UniPC, half_log_snr, unified_weights
from exnihilo.probability.paths import Cosine, Path, Plain, Straight, VariancePreserving
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.solvers import DDIM, Denoise, Sampler, solve
from exnihilo.probability.transitions import curves
from tests.probability.gaussian import Fixed, exact_denoiser, flow_solution

TABLE = Discrete(linear_betas())


def error(sampler: Sampler, path: Path, times: list[float]) -> float:
    """Of one sample of N(0.3, 0.25) data that begins at 1.7."""
    x = torch.tensor([[1.7]], dtype=torch.float64)
    found = solve(sampler, exact_denoiser(path, 0.3, 0.25), path, x, times, Noise(0))
    return abs(float(found - flow_solution(path, 0.3, 0.25, x, times[0], times[-1])))


def even_in_log_snr(path: Path, steps: int) -> list[float]:
    first, last = (half_log_snr(path, t) for t in (1.0, 1e-3))
    times: list[float] = path.time_of(torch.linspace(first, last, steps + 1, dtype=torch.float64)).tolist()
    return times


def test_dpm_solver_makes_its_known_errors() -> None:
    for steps, known in {10: 2.78e-2, 20: 1.11e-2, 40: 2.98e-3, 80: 7.56e-4, 160: 1.90e-4, 320: 4.74e-5}.items():
        path = VariancePreserving()
        assert error(DPMSolver(), path, even_in_log_snr(path, steps)) == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize(
    ("sampler", "order", "kept"),
    [(UniPC(1), 2, 0.1), (UniPC(2), 3, 0.1), (UniPC(2, "bh1"), 3, 0.15), (UniPC(3), 4, 0.5), (DPMSolver(), 2, 0.1)],
)
@pytest.mark.parametrize("path", [VariancePreserving(), Plain(0.01, 20.0)])
def test_errors_fall_with_the_order(sampler: Sampler, order: int, kept: float, path: Path) -> None:
    few, many = (error(sampler, path, even_in_log_snr(path, steps)) for steps in (80, 160))
    assert math.log2(few / many) >= order - kept


def test_plms_has_order_two_on_equal_times_after_its_start() -> None:
    errors = [
        error(PLMS(), VariancePreserving(), torch.linspace(0.9, 0.3, n + 1, dtype=torch.float64).tolist())
        for n in (40, 80, 160)
    ]
    assert errors[-1] == pytest.approx(3.3e-6, rel=0.05)
    assert errors[0] / errors[1] > 3.5


@pytest.mark.parametrize("sampler", [PLMS(), DPMSolver(), UniPC(), UniPC(3)])
@pytest.mark.parametrize("path", [Straight(), Cosine(), TABLE])
def test_a_single_step_to_the_data_shows_the_expected_data(sampler: Sampler, path: Path) -> None:
    x, denoise = Noise(1, 5).normal(3, dtype=torch.float64), exact_denoiser(path, 0.3, 0.25)
    expected = denoise(x, torch.full((5,), 0.4, dtype=torch.float64)).data
    torch.testing.assert_close(solve(sampler, denoise, path, x, [0.4, 0.0], Noise(0, 5)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", [PLMS(), DPMSolver(), UniPC()])
def test_the_last_step_shows_the_expected_data_and_does_not_look_ahead(sampler: Sampler) -> None:
    x, times = Noise(1, 5).normal(3, dtype=torch.float64), time_grid(6, 1000)
    denoise = exact_denoiser(TABLE, 0.3, 0.25)
    before, after = (solve(sampler, denoise, TABLE, x, way, Noise(0, 5)) for way in (times[:-1], times))
    expected = denoise(before, torch.full((5,), times[-2], dtype=torch.float64)).data
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", [PLMS(), DPMSolver(), UniPC()])
def test_the_first_step_is_that_of_ddim(sampler: Sampler) -> None:
    x, denoise = Noise(1, 5).normal(3, dtype=torch.float64), exact_denoiser(TABLE, 0.3, 0.25)
    ours, ddim = (solve(kind, denoise, TABLE, x, [1.0, 0.9], Noise(0, 5)) for kind in (sampler, DDIM()))
    torch.testing.assert_close(ours, ddim, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", [PLMS(), DPMSolver(), DPMSolver(stochastic=True), UniPC(), UniPC(3)])
def test_nothing_is_remembered_from_one_run_to_the_next(sampler: Sampler) -> None:
    x, denoise, times = Noise(1, 5).normal(3), exact_denoiser(TABLE, 0.3, 0.25), time_grid(7, 1000)
    first, second = (solve(sampler, denoise, TABLE, x, times, Noise(2, 5)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("sampler", [PLMS(), DPMSolver(), UniPC(), UniPC(3)])
@pytest.mark.parametrize("path", [Straight(), Cosine()])
def test_paths_that_end_without_signal_are_followed(sampler: Sampler, path: Path) -> None:
    x, denoise = Noise(1, 5).normal(3, dtype=torch.float64), exact_denoiser(path, 0.3, 0.25)
    found = solve(sampler, denoise, path, x, time_grid(60), Noise(0, 5))
    torch.testing.assert_close(found, flow_solution(path, 0.3, 0.25, x, 1.0, 0.0), rtol=0, atol=0.02)


@pytest.mark.parametrize("sampler", [DDIM(), DPMSolver(), UniPC()])
def test_a_path_scaled_and_timed_anew_gives_the_same_samples(sampler: Sampler) -> None:
    one, other = VariancePreserving(), Plain(1e-4, 200.0)
    levels = torch.linspace(half_log_snr(one, 0.99), half_log_snr(one, 0.01), 12, dtype=torch.float64)
    x = Noise(1, 5).normal(3, dtype=torch.float64)
    ends = []
    for path in (one, other):
        times = path.time_of(levels).tolist()
        start = curves(path, times[0])[0] * x
        ends.append(
            solve(sampler, exact_denoiser(path, 0.3, 0.25), path, start, times, Noise(0, 5))
            / curves(path, times[-1])[0]
        )
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)


def final_variance(sampler: Sampler, path: Path, times: list[float], start: float, variance: float = 0.25) -> float:
    """Of samples of N(0, variance), by how the step acts on x and on z; the data of earlier steps act as well, so a run
    with z = 1 in one step alone shows what that step's noise becomes."""
    denoise = exact_denoiser(path, 0.0, variance)
    one, nothing = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    total = start * float(solve(sampler, denoise, path, one, times, Fixed(0.0))) ** 2
    for place in range(len(times) - 1):
        total += float(solve(sampler, denoise, path, nothing, times, Pulse(place))) ** 2
    return total


class Pulse(Noise):
    """Noise that is 1 in one step and 0 in all others."""

    def __init__(self, place: int):
        super().__init__(0, 1)
        self.place, self.asked = place, -1

    def like(self, x: Tensor) -> Tensor:
        self.asked += 1
        return torch.full_like(x, float(self.asked == self.place))


def test_the_stochastic_solver_has_its_known_variances() -> None:
    path = VariancePreserving()
    alpha, sigma = curves(path, 1.0)
    for steps, known in {10: 0.26903, 20: 0.26561, 40: 0.25468, 80: 0.25127}.items():
        start = alpha**2 * 0.25 + sigma**2
        found = final_variance(DPMSolver(stochastic=True), path, even_in_log_snr(path, steps), start)
        assert found == pytest.approx(known, abs=2e-5)


def test_weights_of_one_evaluation_are_a_half() -> None:
    assert unified_weights([1.0], 0.3, math.expm1(-0.3)) == [0.5]
    assert sum(unified_weights([-1.0, 1.0], 0.01, math.expm1(-0.01))) == pytest.approx(0.5, abs=0.01)


def tanh_denoiser(path: Path) -> Denoise:
    """A network that is no Gaussian's: noise = 0.8 tanh(x)."""

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = path(t.view(-1, *[1] * (x.ndim - 1)))
        noise = 0.8 * torch.tanh(x)
        return Prediction((x - sigma * noise) / alpha, noise)

    return denoise


@pytest.mark.parametrize("solver", ["dpmpp", "unipc"])
def test_a_run_equals_diffusers(solver: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    options = {"beta_schedule": "linear", "solver_order": 2, "timestep_spacing": "trailing"}
    if solver == "dpmpp":
        theirs = diffusers.DPMSolverMultistepScheduler(
            1000, algorithm_type="dpmsolver++", solver_type="midpoint", final_sigmas_type="zero", **options
        )
    else:
        theirs = diffusers.UniPCMultistepScheduler(
            1000, solver_type="bh2", final_sigmas_type="zero", lower_order_final=True, **options
        )
    theirs.set_timesteps(20)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    other = x
    for t in theirs.timesteps:
        other = theirs.step(0.8 * torch.tanh(other), t, other).prev_sample
    times = [(int(t) + 1) / 1000 for t in theirs.timesteps] + [0.0]
    sampler: Sampler = DPMSolver() if solver == "dpmpp" else UniPC()
    ours = solve(sampler, tanh_denoiser(TABLE), TABLE, x, times, Noise(0))
    torch.testing.assert_close(ours, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))
