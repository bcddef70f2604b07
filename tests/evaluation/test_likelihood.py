from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, Noise, Terms
from exnihilo.data import Dataset
from exnihilo.evaluation.baselines import Histogram, UniformNoise
from exnihilo.evaluation.evaluate import evaluate
from exnihilo.evaluation.likelihood import bound_parts, likelihood, log_likelihood
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


class Bell(GenerativeModel):
    """z ~ N(0, 1), x given z ~ N(z, 1), so x ~ N(0, 2); q(z given x) = N(x / 2, variance), exact at 1/2."""

    def __init__(self, variance: float) -> None:
        super().__init__()
        self.spec, self.recipe, self.options = DataSpec("vector", (1,), examples=10), "bell", {}
        self.variance = variance

    def weights(self, x: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
        spread = self.variance**0.5
        z = x / 2 + spread * Noise(seed, len(x)).normal(k, dtype=x.dtype)
        normal = torch.distributions.Normal
        inferred = normal(x / 2, spread).log_prob(z)
        return normal(z, 1).log_prob(x), inferred - normal(torch.zeros_like(x), 1).log_prob(z)

    def bound_terms(self, x: Tensor, *, label: Tensor | None = None, seed: int = 0) -> Terms:
        said, cost = self.weights(x, 1, seed)
        return {"reconstruction": -said[:, 0], "divergence": cost[:, 0]}

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        said, cost = self.weights(x, k, seed)
        return (said - cost).logsumexp(dim=1) - math.log(k)


def test_the_parts_of_a_bound_and_the_gap_that_the_encoder_leaves() -> None:
    x = torch.randn(256, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2**0.5
    exact = bound_parts(Bell(0.5), Batch(x), "p")
    minus_log_prob = -torch.distributions.Normal(0, 2**0.5).log_prob(x).mean()
    total = exact["reconstruction_nats"].value + exact["divergence_nats"].value
    assert total == pytest.approx(float(minus_log_prob))
    assert exact["gap_nats"].value == pytest.approx(0, abs=1e-9)
    loose = bound_parts(Bell(1.0), Batch(x), "p")["gap_nats"]
    assert loose.low < 0.5 * (1 - math.log(2)) < loose.high  # KL(N(m, 1) || N(m, 1/2)), which k=50 all but closes
    assert loose.low > 0
    assert loose.n == 256


def test_a_model_without_such_a_bound_has_no_parts(digits: Dataset) -> None:
    train = digits.split("train").first()
    assert bound_parts(Histogram(digits.spec, train), train, "p") == {}


def test_a_class_that_never_occurs_does_not_spoil_unknown_labels() -> None:
    class Bounded(Known):
        labelled = True
        withdrawn = frozenset({"log_prob"})

        def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
            return -x.square().sum(dim=1)

    spec = DataSpec("vector", (3,), classes=2, class_names=("never", "always"), class_shares=(0.0, 1.0))
    x = torch.zeros(2, 3)
    nats, _ = log_likelihood(Bounded(spec, x), Batch(x, label=torch.tensor([-1, 1])))
    assert nats.tolist() == [0.0, 0.0]
