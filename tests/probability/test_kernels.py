"""Chains along slopes against closed forms: what they leave as it is, how far off they are, that they turn back."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.chains import TorchChance, annealed_importance, clamped, log_mean_exp, run_chain
from exnihilo.probability.kernels import (
    HMC,
    Langevin,
    annealed_langevin,
    annealing_rate,
    leapfrog,
    mala,
    score_of,
    slope,
    tuned,
)

COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
PRECISION = torch.linalg.inv(COVARIANCE)


def gaussian(x: Tensor) -> Tensor:
    """E of N(0, COVARIANCE)."""
    return 0.5 * (x @ PRECISION * x).sum(dim=1)


def normal(x: Tensor) -> Tensor:
    return 0.5 * x.square().flatten(1).sum(dim=1)


def curved(x: Tensor) -> Tensor:
    """No Gaussian: a banana."""
    return 0.5 * x[:, 0].square() + 2 * (x[:, 1] - x[:, 0].square()).square()


def points(n: int, size: int = 2, seed: int = 0) -> Tensor:
    return Noise(seed, n).normal(size, dtype=torch.float64)


def test_slope_is_the_gradient_and_leaves_none_behind() -> None:
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = points(5)
    with torch.no_grad():
        value, gradient = slope(lambda point: weight * gaussian(point), x)
    torch.testing.assert_close(gradient, 2 * x @ PRECISION)
    torch.testing.assert_close(value, 2 * gaussian(x))
    assert weight.grad is None
    assert not value.requires_grad
    assert not x.requires_grad


def test_langevin_has_the_variance_of_its_closed_form() -> None:
    step, n = 0.5, 200_000
    x = run_chain(Langevin(score_of(normal), step), points(n, 1), 40, Noise(1, n))
    exact = 1 / (1 - step / 4)  # V = (1 - step / 2)^2 V + step
    assert float(x.var()) == pytest.approx(exact, rel=4 * math.sqrt(2 / n))
    assert float(x.var()) != pytest.approx(1, rel=0.1)


def test_langevin_may_step_differently_in_every_row() -> None:
    x, steps = points(3), torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)
    together = Langevin(score_of(curved), steps)(x, Noise(1, 3))
    for row in range(3):
        alone = Langevin(score_of(curved), float(steps[row]))(x[row : row + 1], Noise(1, [row]))
        torch.testing.assert_close(together[row : row + 1], alone)
    torch.testing.assert_close(together[0], x[0])


@pytest.mark.parametrize("kernel", [mala(gaussian, 0.8), HMC(gaussian, 0.7, leaps=3)], ids=["mala", "hmc"])
def test_corrected_kernels_leave_a_gaussian_exactly_as_it_is(kernel: HMC) -> None:
    n = 100_000
    start = points(n) @ torch.linalg.cholesky(COVARIANCE).T
    x = run_chain(kernel, start, 8, Noise(1, n))
    error = math.sqrt(2 / n)
    torch.testing.assert_close(x.T.cov(), COVARIANCE, atol=4 * error, rtol=0)
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(2).double(), atol=4 / math.sqrt(n), rtol=0)
    accepted = kernel.move(start, Noise(2, n))[1].mean()
    assert 0.3 < float(accepted) < 0.98  # so that rejecting matters


def test_without_rejection_it_would_not_stay() -> None:
    n = 100_000
    x = points(n) @ torch.linalg.cholesky(COVARIANCE).T
    chance = Noise(1, n)
    for _ in range(8):
        x = leapfrog(gaussian, x, chance.like(x), 0.7, 3)[0]
    assert (x.T.cov() - COVARIANCE).abs().max() > 20 * math.sqrt(2 / n)


def test_langevin_from_afar_finds_the_covariance() -> None:
    n = 500
    x = run_chain(Langevin(score_of(gaussian), 0.01), 5 + points(n), 3000, TorchChance())
    torch.testing.assert_close(x.T.cov(), COVARIANCE, atol=0.2, rtol=0)
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(2).double(), atol=0.2, rtol=0)


def test_one_leap_is_adjusted_langevin() -> None:
    """The acceptance by its own formula, exp(E(x) - E(x')) q(x | x') / q(x' | x)."""
    x, step = points(50), 0.3
    proposal = Langevin(score_of(curved), step)(x, Noise(3, 50))
    end, probability = mala(curved, step).move(x, Noise(3, 50))

    def log_q(there: Tensor, here: Tensor) -> Tensor:
        return -(there - here - step / 2 * score_of(curved)(here)).square().sum(dim=1) / (2 * step)

    ratio = curved(x) - curved(proposal) + log_q(x, proposal) - log_q(proposal, x)
    torch.testing.assert_close(probability, ratio.clamp(max=0).exp())
    taken = (end != x).all(dim=1)
    assert taken.any()
    assert not taken.all()
    torch.testing.assert_close(torch.where(taken[:, None], proposal, x), end)


def test_leaps_turn_back_and_keep_volume() -> None:
    x, momentum = points(6), points(6, seed=1)
    end, turned, change = leapfrog(curved, x, momentum, 0.1, 12)
    back, again, undone = leapfrog(curved, end, -turned, 0.1, 12)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(again, -momentum)
    torch.testing.assert_close(undone, -change)

    def both(state: Tensor) -> Tensor:
        a, b, _ = leapfrog_with_gradient(state)
        return torch.cat([a, b], dim=1)[0]

    jacobian = torch.autograd.functional.jacobian(both, torch.cat([x[:1], momentum[:1]], dim=1))[:, 0]
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1)


def leapfrog_with_gradient(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same leaps on the Gaussian, written out so that autograd sees through them."""
    x, momentum = state[:, :2], state[:, 2:]
    momentum = momentum - 0.05 * x @ PRECISION
    for leap in range(12):
        x = x + 0.1 * momentum
        momentum = momentum - (0.1 if leap < 11 else 0.05) * x @ PRECISION
    same = leapfrog(gaussian, state[:, :2].detach(), state[:, 2:].detach(), 0.1, 12)
    torch.testing.assert_close(x.detach(), same[0])
    return x, momentum, same[2]


def test_energy_error_is_of_second_order() -> None:
    x, momentum = points(200), points(200, seed=1)
    errors = []
    for leaps in (20, 40, 80):  # the same time
        _, turned, change = leapfrog(curved, x, momentum, 1 / leaps, leaps)
        errors.append(float((change + normal(turned) - normal(momentum)).abs().median()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)


def test_an_end_at_infinity_is_not_taken() -> None:
    def steep(x: Tensor) -> Tensor:
        return x.pow(4).sum(dim=1)

    x = points(4) + 3
    end, probability = HMC(steep, 10.0, leaps=20).move(x, Noise(0, 4))
    assert torch.equal(end, x)
    assert torch.equal(probability, torch.zeros(4).double())


def test_tuning_finds_a_step_of_its_own_for_every_chain() -> None:
    n, scales = 64, torch.tensor([0.1, 3.0], dtype=torch.float64).repeat(32)

    def two_scales(x: Tensor) -> Tensor:
        scale = scales if len(x) == n else scales[[1]]
        return 0.5 * (x / scale[:, None]).square().sum(dim=1)

    first = HMC(two_scales, 1.0, leaps=4)
    x, kernel = tuned(first, points(n, 20), 200, Noise(1, n), target=0.65)
    assert isinstance(kernel.step, Tensor)
    narrow, wide = kernel.step[::2].mean(), kernel.step[1::2].mean()
    assert float(wide / narrow) == pytest.approx(30, rel=0.25)
    accepted = torch.stack([kernel.move(x, Noise(seed, n))[1] for seed in range(2, 12)]).mean()
    assert float(accepted) == pytest.approx(0.65, abs=0.1)
    _, alone = tuned(first, points(n, 20)[1:2], 200, Noise(1, [1]), target=0.65)
    torch.testing.assert_close(alone.step, kernel.step[1:2])


def test_annealed_importance_sampling_with_hamiltonian_steps_knows_log_z() -> None:
    n = 100

    def log_density(t: float, x: Tensor) -> Tensor:
        return -(1 - t) * normal(x) - t * gaussian(x)

    weights = annealed_importance(
        log_density,
        lambda t, x, chance: HMC(lambda state: -log_density(t, state), 0.5, 3)(x, chance),
        points(n),
        torch.linspace(0, 1, 60, dtype=torch.float64),
        Noise(1, n),
    )
    exact = 0.5 * float(torch.linalg.slogdet(COVARIANCE).logabsdet)
    assert log_mean_exp(weights).value == pytest.approx(exact, abs=0.05)


def test_clamped_langevin_draws_from_the_conditional() -> None:
    n = 20_000
    x = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    kernel = clamped(Langevin(score_of(gaussian), 0.02), x, mask)
    filled = run_chain(kernel, x, 300, TorchChance())[:, 1]
    variance = 0.8 - 0.36
    assert float(filled.mean()) == pytest.approx(0.6, abs=0.03)
    assert float(filled.var()) == pytest.approx(variance, rel=0.05)


# -- along a ladder of noise -----------------------------------------------------------------------------------------

MODES, WEIGHTS, SPREAD = torch.tensor([-4.0, 4.0]).double(), torch.tensor([0.2, 0.8]).double(), 0.3


def two_modes(x: Tensor, sigma: float) -> Tensor:
    """Score of 0.2 N(-4, v) + 0.8 N(4, v) with v = 0.3^2 + sigma^2, [B, 1]."""
    variance = SPREAD**2 + sigma**2
    shares = (WEIGHTS.log() - 0.5 * (x - MODES).square() / variance).softmax(dim=1)
    return (shares * (MODES - x)).sum(dim=1, keepdim=True) / variance


def test_annealing_finds_the_weights_that_plain_langevin_cannot() -> None:
    n = 4000
    start = 16 * Noise(0, n).uniform(1, dtype=torch.float64) - 8
    sigmas = torch.logspace(math.log10(10), math.log10(0.05), 40).tolist()
    rate = annealing_rate(sigmas[0] / sigmas[1], 20)
    annealed = annealed_langevin(two_modes, 10 * points(n, 1), sigmas, 20, rate, Noise(1, n))
    plain = run_chain(Langevin(partial(two_modes, sigma=0.0), 0.02), start, 400, Noise(1, n))
    assert float((annealed > 0).double().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((plain > 0).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(annealed[annealed > 0].std()) == pytest.approx(SPREAD, rel=0.1)


def test_annealing_holds_what_is_known() -> None:
    """x = (a, b) with equal entries up to noise: given a, b follows; and what is known comes back as it was."""

    def score(x: Tensor, sigma: float) -> Tensor:
        joint = torch.linalg.inv(COVARIANCE + sigma**2 * torch.eye(2))
        return -x @ joint

    n = 20_000
    known = torch.tensor([1.0, 9.0], dtype=torch.float64).expand(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    sigmas = torch.logspace(0.7, -2, 20).tolist()
    x = annealed_langevin(score, 5 * points(n), sigmas, 40, 0.2, TorchChance(), known=known, mask=mask)
    assert torch.equal(x[:, 0], known[:, 0])
    assert float(x[:, 1].mean()) == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(("ratio", "steps"), [(1.2, 5), (1.6, 100), (1.05, 1)])
def test_the_rate_of_annealing_keeps_the_variance(ratio: float, steps: int) -> None:
    rate = annealing_rate(ratio, steps)
    variance = ratio**2
    for _ in range(steps):
        variance = (1 - rate / 2) ** 2 * variance + rate
    for other in (0.7 * rate, 1.4 * rate):
        worse = ratio**2
        for _ in range(steps):
            worse = (1 - other / 2) ** 2 * worse + other
        assert abs(variance - 1) <= abs(worse - 1)
    assert abs(variance - 1) < 0.2
