"""Contractions and differential equations: series against determinants, golden values, order of the error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import ExnihiloError, seeded
from exnihilo.nets.fields import Field
from exnihilo.nets.lipschitz import Contraction
from exnihilo.probability.continuous import Continuous
from exnihilo.probability.jacobians import fixed_signs, jacobian, signs
from exnihilo.probability.residual import Residual, log_det_series, roulette

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def contraction(size: int = 4) -> Residual:
    """Weights far beyond their bound, whose power iterations have caught up."""
    residual = Residual(Contraction((size,), 16))
    for weight in residual.parameters():
        weight.data.mul_(3).add_(0.1 * torch.randn_like(weight))
    for _ in range(400):
        residual.network(torch.zeros(1, size))
    return residual.double().eval()


# -- residual --------------------------------------------------------------------------------------------------------


def test_golden_series() -> None:
    """Likelihood card G13: with v = both unit vectors the quadratic forms sum to the trace."""
    matrix = torch.tensor([[0.3, 0.1], [-0.2, 0.4]], dtype=torch.float64)
    series = log_det_series(lambda v: v @ matrix, torch.eye(2, dtype=torch.float64), [1.0] * 5).sum()
    assert series.item() == pytest.approx(0.60942233, abs=1e-7)
    long = log_det_series(lambda v: v @ matrix, torch.eye(2, dtype=torch.float64), [1.0] * 60).sum()
    assert long.item() == pytest.approx(0.60976557, abs=1e-7)


def test_residual_inverts_with_autograds_log_determinant() -> None:
    residual = contraction()
    x = torch.randn(3, 4, dtype=torch.float64)
    u, log_det = residual(x)
    assert log_det.abs().min() > 0.01
    torch.testing.assert_close(residual.inverse(u), x, atol=1e-8, rtol=0)
    whole = torch.autograd.functional.jacobian(lambda x: residual(x[None])[0][0], x[0])
    torch.testing.assert_close(torch.linalg.slogdet(whole)[1], log_det[0], atol=1e-9, rtol=0)
    change = residual.change()
    torch.testing.assert_close(jacobian(change, x)[0], whole - torch.eye(4, dtype=torch.float64))


def test_roulette_is_unbiased_in_value_and_gradient() -> None:
    """20 000 probes of one matrix, their lengths drawn in 400 groups."""
    matrix = torch.tensor([[0.3, 0.1, 0], [-0.2, 0.4, 0.3], [0.1, 0, -0.3]], dtype=torch.float64, requires_grad=True)
    eye = torch.eye(3, dtype=torch.float64)
    exact = torch.linalg.slogdet(eye + matrix)[1]
    slope = torch.autograd.grad(exact, matrix)[0]
    values, slopes = [], []
    with seeded("roulette"):
        for _ in range(400):
            probe = signs(torch.zeros(50, 3, dtype=torch.float64))
            value = log_det_series(lambda v: v @ matrix, probe, roulette(2)).mean()
            values.append(value.detach())
            slopes.append(torch.autograd.grad(value, matrix)[0])
    for found, expected in ((torch.stack(values), exact.detach()), (torch.stack(slopes), slope)):
        error = found.std(dim=0) / math.sqrt(len(found))
        assert ((found.mean(dim=0) - expected).abs() < 4 * error + 1e-12).all()
        assert (error < 0.02).all()


def test_training_estimates_what_evaluation_computes() -> None:
    residual = contraction()
    x = torch.randn(1, 4, dtype=torch.float64)
    exact = residual(x)[1]
    with seeded("estimates"):
        residual.train()
        estimates = torch.stack([residual(x.expand(200, -1))[1].detach().mean() for _ in range(60)])
    error = estimates.std() / math.sqrt(60)
    assert abs(estimates.mean() - exact[0]) < 4 * error + 5e-3  # the norms move a little in training
    assert error < 0.03


def test_beyond_a_size_the_log_determinant_is_a_fixed_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    residual = contraction(24)
    x = torch.randn(5, 24, dtype=torch.float64)
    exact = residual(x)[1].detach()
    monkeypatch.setattr("exnihilo.probability.residual.WHOLE", 3)
    with torch.no_grad():
        estimate = residual(x)[1]
        assert torch.equal(estimate, residual(x)[1])
        torch.testing.assert_close(residual(x[:1])[1], estimate[:1])
    torch.testing.assert_close(estimate, exact, atol=1.0, rtol=0.2)
    assert not torch.equal(estimate, exact)


# -- continuous ------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """dz/dt = A z."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.2, -0.5], [0.3, -0.1]], dtype=torch.float64))

    def forward(self, z: Tensor, t: float | Tensor) -> Tensor:
        return z @ self.matrix.T


def field(size: int = 3) -> Field:
    made = Field(size, 8, 2)
    for weight in made.parameters():
        weight.data.add_(0.5 * torch.randn_like(weight))
    return made.double()


def test_golden_linear_equation() -> None:
    """Likelihood card G14: exp(A) x, and tr A."""
    x = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    z, log_det = Continuous(Linear(), steps=40).eval()(x)
    assert z[0].tolist() == pytest.approx([1.65385944, -0.52187851], abs=1e-6)
    assert log_det.item() == pytest.approx(0.1, abs=1e-9)
    torch.testing.assert_close(Continuous(Linear(), steps=40).inverse(z), x, atol=1e-7, rtol=0)


def test_the_error_falls_with_the_fourth_power_of_the_step() -> None:
    made, x = field(), torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        exact, (four, eight) = (
            Continuous(made, steps=100).eval()(x)[0],
            [Continuous(made, steps=n).eval()(x)[0] for n in (4, 8)],
        )
    ratio = (four - exact).norm() / (eight - exact).norm()
    assert 10 < ratio < 26


def test_continuous_maps_invert_with_autograds_log_determinant() -> None:
    flow = Continuous(field(), steps=30).eval()
    x = torch.randn(3, 3, dtype=torch.float64)
    z, log_det = flow(x)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(flow.inverse(z), x, atol=1e-5, rtol=0)
    whole = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], x[0])
    torch.testing.assert_close(torch.linalg.slogdet(whole)[1], log_det[0], atol=1e-5, rtol=0)


def test_random_signs_give_the_trace_on_average_and_are_the_same_all_along() -> None:
    flow = Continuous(field(), steps=6)
    x = torch.randn(1, 3, dtype=torch.float64)
    exact = flow.eval()(x)[1]
    with seeded("signs"):
        found = flow.train()(x.expand(4000, -1))[1].detach()
    assert len(found.unique()) <= 8  # one vector of three signs per path: four values, v and -v being alike
    assert abs(found.mean() - exact[0]) < 4 * found.std() / math.sqrt(4000) + 1e-9


def test_fixed_signs_are_of_no_chance() -> None:
    x = torch.randn(4, 6)
    assert torch.equal(fixed_signs(x, 1)[:2], fixed_signs(x[:2], 1))
    assert not torch.equal(fixed_signs(x, 1), fixed_signs(x, 2))
    assert set(signs(x).flatten().tolist()) == {-1.0, 1.0}


def test_the_adaptive_solver_agrees_or_says_what_it_needs() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    made = field()
    adaptive = Continuous(made, solver="dopri5").eval()
    try:
        import torchdiffeq  # noqa: F401
    except ImportError:
        with pytest.raises(ExnihiloError, match=r"exnihilo\[ode\]"):
            adaptive(x)
        return
    z, log_det = adaptive(x)
    exact_z, exact_log_det = Continuous(made, steps=100).eval()(x)
    torch.testing.assert_close(z, exact_z, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_det, exact_log_det, atol=1e-4, rtol=0)
    torch.testing.assert_close(adaptive.inverse(z), x, atol=1e-3, rtol=0)
