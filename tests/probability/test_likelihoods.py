"""Every head is a normalised distribution whose mean, draws and masks agree with its masses."""

from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import Column, DataSpec, Noise
from exnihilo.probability import likelihoods
from exnihilo.probability.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    Mixed,
    SquaredError,
    log1mexp,
    log_logistic_mass,
)

SHAPE = (2, 3)


def heads() -> dict[str, Likelihood]:
    torch.manual_seed(0)
    logistic = DiscretisedLogistic(SHAPE, 17).double()
    with torch.no_grad():
        logistic.log_scale.copy_(torch.tensor([[-9.0, -4, -2], [-1, 1, 4]]))
    return {
        "bernoulli": Bernoulli(),
        "bernoulli_image": Bernoulli(low=-1.0),
        "categorical": Categorical(5),
        "logistic": logistic,
        "logistic_zero_to_one": DiscretisedLogistic(SHAPE, 4, low=0.0).double(),
        "mixture": DiscretisedLogisticMixture(17, components=3),
    }


def all_levels(head: Likelihood) -> torch.Tensor:
    levels = getattr(head, "levels", 2)
    return torch.linspace(head.low, 1, levels, dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", list(heads()))
def test_masses_sum_to_one_and_have_the_mean(name, scale):
    head = heads()[name]
    torch.manual_seed(1)
    parameters = scale * torch.randn(4, *head.shape(SHAPE), dtype=torch.float64)
    values = all_levels(head)
    masses = torch.stack([head.entries(parameters, torch.full((4, *SHAPE), v).double()).exp() for v in values])
    torch.testing.assert_close(masses.sum(dim=0), torch.ones(4, *SHAPE).double(), rtol=0, atol=1e-10)
    mean = (masses * values.view(-1, 1, 1, 1)).sum(dim=0)
    smooth = isinstance(head, DiscretisedLogistic | DiscretisedLogisticMixture)  # their mean is taken before rounding
    assert (head.mean(parameters) - mean).abs().max() < ((values[1] - values[0]) / 2 if smooth else 1e-9)


@pytest.mark.parametrize("name", list(heads()))
def test_draws_follow_the_masses(name):
    head = heads()[name]
    n = 20_000
    torch.manual_seed(2)
    parameters = torch.randn(1, *head.shape(SHAPE), dtype=torch.float64)
    x = head.draw(parameters.expand(n, -1, -1), Noise(0, n))
    assert x.shape == (n, *SHAPE)
    total = torch.zeros(SHAPE).double()
    for value in all_levels(head):
        mass = head.entries(parameters, torch.full((1, *SHAPE), value).double()).exp()[0]
        share = (x - value).abs().lt(1e-6).double().mean(dim=0)
        assert ((share - mass).abs() < 4 * (mass * (1 - mass) / n).sqrt() + 1e-3).all()
        total += share
    assert torch.equal(total.round(decimals=9), torch.ones(SHAPE).double())
    assert torch.equal(head.draw(parameters, Noise(0, [5]))[0], x[5])


@pytest.mark.parametrize("name", list(heads()))
def test_log_prob_sums_entries_and_obeys_the_mask(name):
    head = heads()[name]
    parameters = torch.randn(3, *head.shape(SHAPE), dtype=torch.float64)
    x = all_levels(head)[torch.randint(len(all_levels(head)), (3, *SHAPE))]
    entries = head.entries(parameters, x)
    torch.testing.assert_close(head.log_prob(parameters, x), entries.sum(dim=(1, 2)))
    mask = torch.zeros(3, *SHAPE, dtype=torch.bool)
    mask[:, 0, 1] = True
    torch.testing.assert_close(head.log_prob(parameters, x, mask), entries[:, 0, 1])


def test_golden_logistic_mixture():
    """Likelihood card G4, once through the function and once through the head's own parametrisation."""
    logits = torch.tensor([0.2, -0.3], dtype=torch.float64)
    means = torch.tensor([0.1, -0.9], dtype=torch.float64)
    log_scales = torch.tensor([-2.0, -3.0], dtype=torch.float64)
    x = torch.tensor([0, 17, 128, 255], dtype=torch.float64) * 2 / 255 - 1
    golden = torch.tensor([-3.03548233, -4.31673759, -4.83197262, -7.09658176], dtype=torch.float64)
    masses = log_logistic_mass(x[:, None], means, log_scales, -1.0, 2 / 255)
    torch.testing.assert_close((logits.log_softmax(0) + masses).logsumexp(dim=1), golden, atol=1e-8, rtol=0)
    head = DiscretisedLogisticMixture(256, components=2)
    spread = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    parameters = torch.cat([logits, means - spread, log_scales + 1]).expand(4, -1)
    torch.testing.assert_close(head.log_prob(parameters, x[:, None]), golden, atol=1e-8, rtol=0)


def test_log1mexp_at_both_ends():
    a = torch.tensor([-1e-12, -0.5, -0.7, -50.0], dtype=torch.float64)
    expected = [math.log(1e-12), math.log(-math.expm1(-0.5)), math.log(-math.expm1(-0.7)), -math.exp(-50)]
    torch.testing.assert_close(log1mexp(a), torch.tensor(expected, dtype=torch.float64), rtol=1e-11, atol=1e-30)


@pytest.mark.parametrize("name", ["logistic", "mixture", "bernoulli", "categorical"])
def test_gradients_stay_finite_far_out(name):
    head = heads()[name].float()
    parameters = (torch.randn(8, *head.shape(SHAPE)) * 300).requires_grad_()
    x = all_levels(head).float()[torch.randint(len(all_levels(head)), (8, *SHAPE))]
    log_p = head.log_prob(parameters, x)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


def test_gaussian_sigma_is_the_root_mean_squared_error_at_its_optimum():
    head = Gaussian(floor=1e-3).double()
    x, mean = torch.randn(2, 200, 3, dtype=torch.float64)
    error = (x - mean).square().mean()
    with torch.no_grad():
        head.log_sigma.copy_(0.5 * (error - 1e-6).log())
    loss = -head.log_prob(mean, x).mean()
    loss.backward()
    assert head.log_sigma.grad is not None
    assert abs(head.log_sigma.grad.item()) < 1e-9
    assert abs(loss.item() - 1.5 * math.log(2 * math.pi * math.e * error.item())) < 1e-9
    drawn = head.draw(torch.zeros(5000, 3).double(), Noise(0, 5000))
    assert abs(drawn.std().item() / error.sqrt().item() - 1) < 0.03


def test_squared_error_is_minus_the_squared_distance():
    x, mean = torch.randn(2, 4, *SHAPE)
    torch.testing.assert_close(SquaredError().log_prob(mean, x), -(x - mean).square().sum(dim=(1, 2)))


COLUMNS = (
    Column("colour", "category", 0, 3, categories=("red", "green", "blue")),
    Column("size", "number", 3, 1, mean=2.0, scale=1.5, step=1.0),
    Column("mass", "number", 4, 2, mean=0.0, scale=2.0, missing=True),
    Column("kind", "category", 6, 2, categories=("a", None)),
)
TABLE = DataSpec("table", (8,), columns=COLUMNS, examples=50)


def rows(n: int) -> torch.Tensor:
    x = torch.zeros(n, 8)
    x[torch.arange(n), torch.randint(3, (n,))] = 1
    x[:, 3] = (torch.randint(5, (n,)) - 2.0) / 1.5
    gone = torch.rand(n) < 0.3
    x[:, 4], x[:, 5] = torch.where(gone, 0.0, torch.randn(n)), gone
    x[torch.arange(n), 6 + torch.randint(2, (n,))] = 1
    return x


def test_mixed_is_a_density_of_the_dequantised_row():
    """Everywhere inside a category's box the density is its probability; a missing number's filler cancels."""
    torch.manual_seed(0)
    head, x = Mixed(COLUMNS), rows(40)
    parameters = torch.randn(40, 8)
    parameters[:, 3] = x[:, 3]  # a flat top, so that the step's noise hardly matters
    gone = x[:, 5] > 0.5
    assert 0 < gone.sum() < 40
    first, log_q = TABLE.dequantise(x)
    entries, raw = head.entries(parameters, first), head.entries(parameters, x)
    discrete = [0, 5, 6]
    assert torch.equal(entries[:, discrete], raw[:, discrete])
    assert torch.equal(entries[:, [1, 2, 7]], torch.zeros(40, 3))
    assert torch.equal(entries[~gone, 4], raw[~gone, 4])
    filler = -0.5 * first[gone, 4].square() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(entries[gone, 4], filler)
    exact = raw[:, [0, 5, 6]].sum(dim=1) + torch.where(gone, 0.0, raw[:, 4]) + entries[:, 3] + math.log(1 / 1.5)
    torch.testing.assert_close(head.log_prob(parameters, first) - log_q, exact)


def test_mixed_probabilities_sum_to_one():
    head, parameters = Mixed(COLUMNS), torch.randn(1, 8).double()
    total = 0.0
    for colour in range(3):
        for flag in (0, 1):
            for kind in range(2):
                x = torch.zeros(1, 8).double()
                x[0, colour] = x[0, 6 + kind] = 1
                x[0, 5] = flag
                entries = head.entries(parameters, x)
                total += entries[0, [0, 5, 6]].sum().exp().item()
    assert abs(total - 1) < 1e-10


def test_mixed_missing_numbers_teach_nothing():
    head, x = Mixed(COLUMNS), rows(30)
    parameters = torch.randn(30, 8, requires_grad=True)
    head.log_prob(parameters, x).sum().backward()
    assert parameters.grad is not None
    gone = x[:, 5] > 0.5
    assert (parameters.grad[gone, 4] == 0).all()
    assert (parameters.grad[~gone, 4] != 0).all()


def test_mixed_draws_are_rows_and_follow_the_probabilities():
    head = Mixed(COLUMNS)
    with torch.no_grad():
        head.log_sigma.fill_(-1.0)
    n = 20_000
    parameters = torch.randn(1, 8)
    x = head.draw(parameters.expand(n, -1), Noise(0, n))
    quantised = TABLE.quantise(x)
    torch.testing.assert_close(quantised[:, [0, 1, 2, 4, 5, 6, 7]], x[:, [0, 1, 2, 4, 5, 6, 7]], atol=1e-6, rtol=0)
    mean = head.mean(parameters)[0]
    torch.testing.assert_close(x[:, [0, 1, 2, 3, 5, 6, 7]].mean(dim=0), mean[[0, 1, 2, 3, 5, 6, 7]], atol=0.02, rtol=0)
    assert torch.equal(x[x[:, 5] == 1, 4], torch.zeros(int(x[:, 5].sum())))
    assert abs(x[x[:, 5] == 0, 4].std().item() - head.variance[1].sqrt().item()) < 0.02


def test_clamped_mean_equals_its_integral():
    u = (torch.arange(200_000).double() + 0.5) / 200_000
    for location, scale in ((0.3, 0.2), (-2.0, 0.5), (0.9, 3.0)):
        numeric = (location + scale * u.logit()).clamp(-1, 1).mean().item()
        exact = likelihoods.clamped_logistic_mean(torch.tensor(location), torch.tensor(scale), -1.0).item()
        assert abs(numeric - exact) < 1e-5


def test_a_level_has_a_finite_mass_and_slope_however_far_off_the_location_is() -> None:
    location = torch.tensor([1e3, 1e6, -1e8], requires_grad=True)  # in single precision x +- step / 2 is lost beside it
    mass = log_logistic_mass(torch.zeros(3), location, torch.tensor(-1.0), -1.0, 0.125)
    mass.sum().backward()
    assert mass.isfinite().all()
    torch.testing.assert_close(location.grad, torch.tensor([-math.e, -math.e, math.e]))
