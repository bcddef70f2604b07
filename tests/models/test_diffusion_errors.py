from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, OptionError, create, seeded
from exnihilo.models.diffusion import Diffusion
from exnihilo.models.diffusion.errors import BINS, HORIZON, NoiseErrors
from exnihilo.probability.paths import Path, Straight, VarianceExploding

D, VARIANCE = 16, 0.3
SPEC = DataSpec("vector", (D,), examples=1000)


class Knowing(nn.Module):
    """The exact answer of a network that predicts the noise of N(0, VARIANCE) on a variance preserving path."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        alpha, sigma = self.path(t[:, None])
        return sigma * x / (alpha.square() * VARIANCE + sigma.square())


def measured(name: str) -> Diffusion:
    """A model of the Gaussian, and the errors that a training would have seen."""
    model = create(name, SPEC, width=8).train()
    model.low.fill_(-4.0)
    model.high.fill_(4.0)
    model.network = Knowing(model.path)
    for step in range(60):
        with seeded(step):
            model.loss(Batch(VARIANCE**0.5 * torch.randn(256, D)))
    return model.eval()


@pytest.mark.parametrize("name", ["ddpm", "score_sde"])
def test_the_measured_errors_are_those_of_the_exact_denoiser(name: str) -> None:
    model = measured(name)
    shares = (torch.arange(BINS) + 0.5) / BINS
    ratio = ((1 - shares) / shares).square() * VARIANCE  # alpha^2 VARIANCE / sigma^2
    seen = model.errors.seen > 100
    assert seen.sum() > BINS / 2
    torch.testing.assert_close(model.errors.mean[seen], (ratio / (1 + ratio))[seen], rtol=0.1, atol=0.01)


@pytest.mark.parametrize("name", ["ddpm", "score_sde"])
def test_ancestral_steps_with_the_measured_variance_keep_that_of_the_data(name: str) -> None:
    model = measured(name)
    analytic, plain = (
        model.sample(2000, seed=0, solver=solver, steps=10, spacing="log_snr").var().item()
        for solver in ("ancestral_analytic", "ancestral")
    )
    assert abs(analytic / VARIANCE - 1) < 0.15
    assert abs(analytic / VARIANCE - 1) < 0.5 * abs(plain / VARIANCE - 1)


def test_a_model_that_was_not_trained_says_so() -> None:
    with pytest.raises(OptionError, match="measured in training"):
        create("ddpm", SPEC, width=8).sample(2, seed=0, solver="ancestral_analytic")


def test_validation_does_not_count() -> None:
    model = create("ddpm", SPEC, width=8).eval()
    model.validate(Batch(torch.randn(8, D)))
    assert model.errors.seen.sum() == 0


def test_the_mean_is_plain_at_first_and_looks_back_so_far_later() -> None:
    errors, path = NoiseErrors(), Straight()
    values = torch.arange(6.0)
    for part in values.split(2):
        errors.record(path, torch.full((2,), 0.505), part)
    assert errors.mean[25] == values.mean()
    for _ in range(10):
        errors.record(path, torch.full((HORIZON,), 0.505), torch.full((HORIZON,), 7.0))
    assert errors.mean[25] == 7.0
    errors.record(path, torch.full((2 * HORIZON,), 0.505), torch.full((2 * HORIZON,), 8.0))
    assert errors.mean[25] == 8.0
    assert errors.mean[:25].abs().sum() == 0


def test_paths_that_explode_have_their_place() -> None:
    errors, path = NoiseErrors(), VarianceExploding(high=50.0)
    errors.record(path, torch.tensor([1.0, 1e-3]), torch.tensor([0.1, 0.9]))
    assert errors.seen.sum() == 2
    assert errors.mean[-1] == pytest.approx(0.1)


def test_fresh_noise_is_for_many_steps_and_free_noise() -> None:
    for name in ("ddpm", "flow_matching", "score_sde", "edm"):
        model = create(name, SPEC, width=8)
        assert model.usual_solver(20) == "dpmpp_2m_sde"
        assert model.usual_solver(5) == "dpmpp_2m"
    for name in ("ot_cfm", "rectified_flow"):
        assert create(name, SPEC, width=8).usual_solver(20) == "dpmpp_2m"
    assert create("ncsn", SPEC, width=8).usual_solver(5) == "langevin"
