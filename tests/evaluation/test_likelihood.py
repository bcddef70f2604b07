from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec
from exnihilo.data import Dataset
from exnihilo.evaluation.baselines import Histogram, UniformNoise
from exnihilo.evaluation.evaluate import evaluate
from exnihilo.evaluation.likelihood import likelihood, log_likelihood
from exnihilo.evaluation.reference import Reference
from tests.evaluation.models import Known, image_spec, levels, vector_spec


def test_uniform_noise_costs_eight_bits_a_dimension_at_256_levels() -> None:
    spec = image_spec()
    batch = Batch(levels(spec, 50))
    key, value = likelihood(UniformNoise(spec, batch), batch, "test")
    assert key == "bits_per_dim"
    assert value.value == pytest.approx(8.0, abs=1e-5)


def test_a_histogram_is_exact_and_sums_to_one() -> None:
    spec = DataSpec("vector", (2,), levels=2)
    train = Batch(torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))
    model = Histogram(spec, train)
    every = torch.tensor([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    assert model.log_prob(every).exp().sum().item() == pytest.approx(1.0)
    assert model.log_prob(torch.tensor([[1.0, 1.0]])).exp().item() == pytest.approx(2.1 / 3.2 * 3.1 / 3.2)
    shares = model.sample(4000, seed=0).mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor([2.1 / 3.2, 3.1 / 3.2]), atol=0.03, rtol=0)


def test_the_histogram_row_of_digits(digits: Dataset) -> None:
    reference = Reference.of(digits, n=64)
    value = evaluate(Histogram(digits.spec, reference.train), digits, reference=reference)["bits_per_dim"]
    assert value.value == pytest.approx(2.39, abs=0.03)  # 2.388 on the split by writer of the trials


def test_nats_of_continuous_vectors_are_of_the_density_itself() -> None:
    spec, x = vector_spec(), torch.zeros(20, 3)
    key, value = likelihood(Known(spec, x), Batch(x), "test")
    assert key == "nats"
    assert value.value == pytest.approx(1.5 * math.log(2 * math.pi), rel=1e-6)
    assert value.notes == ("exact",)


def test_dequantisation_only_loses_probability() -> None:
    """For a density that is constant over each step the bound is exact; for any other it is below the mass."""
    spec = DataSpec("vector", (1,), levels=2)  # steps of width 1 around 0 and 1
    x = torch.tensor([[0.0]]).repeat(2000, 1)
    nats, quality = log_likelihood(Known(spec, x), Batch(x))
    normal = torch.distributions.Normal(0.0, 1.0)
    mass = (normal.cdf(torch.tensor(0.5)) - normal.cdf(torch.tensor(-0.5))).log().item()
    assert "bound" in quality
    assert nats.mean().item() < mass
    assert nats.mean().item() == pytest.approx(mass, abs=0.02)


def test_a_labelled_model_counts_every_class_by_its_share() -> None:
    class Labelled(Known):
        labelled = True

        def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
            assert label is not None
            return super().log_prob(x - label[:, None])

    spec = DataSpec("vector", (1,), classes=2, class_names=("a", "b"), class_shares=(0.25, 0.75))
    x = torch.tensor([[0.3]])
    nats, _ = log_likelihood(Labelled(spec, x), Batch(x, label=torch.tensor([1])))
    normal = torch.distributions.Normal
    both = 0.25 * normal(0.0, 1.0).log_prob(x).exp() + 0.75 * normal(1.0, 1.0).log_prob(x).exp()
    assert nats.item() == pytest.approx(both.log().item(), rel=1e-6)


def test_probability_zero_is_infinite_and_said() -> None:
    class Impossible(Known):
        def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
            return torch.where(x[:, 0] > 0, -1.0, -math.inf)

    x = torch.tensor([[1.0], [-1.0]])
    _, value = likelihood(Impossible(vector_spec(1), x), Batch(x), "test")
    assert value.value == math.inf
    assert any("1 test examples" in note for note in value.notes)
