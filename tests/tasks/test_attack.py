from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import exnihilo.models  # noqa: F401
from exnihilo.core import DataError, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.evaluation.networks import Classifier
from exnihilo.tasks import attack, attackable, fgsm, iterative, universal
from exnihilo.tasks.attack import in_whole_steps, reach
from exnihilo.training import Budget, Trainer, train

WEIGHTS, BIAS = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.2


def logistic(x):
    """[B, 2] log-probabilities of class 0 (y = -1) and class 1 (y = +1), p(y) = sigmoid(y (w x + b))."""
    margin = x @ WEIGHTS + BIAS
    return torch.stack([F.logsigmoid(-margin), F.logsigmoid(margin)], dim=1)


X, Y = torch.tensor([[0.3, 0.1, 0.9]], dtype=torch.float64), torch.tensor([1])


def test_golden_numbers_of_logistic_regression():
    """Card E7: the loss after one step is softplus(-(M - eps |w|_1)) exactly."""
    adverse = fgsm(logistic, X, Y, 0.1)
    assert float(F.nll_loss(logistic(X), Y)) == pytest.approx(0.386871, abs=1e-6)
    assert float(F.nll_loss(logistic(adverse), Y)) == pytest.approx(0.513015, abs=1e-6)
    margin = float(X @ WEIGHTS + BIAS)
    exact = math.log1p(math.exp(-(margin - 0.1 * 3.5)))
    assert float(F.nll_loss(logistic(adverse), Y)) == pytest.approx(exact, abs=1e-12)
    assert float((adverse - X).abs().max()) == pytest.approx(0.1, abs=1e-15)


def test_several_steps_reach_the_same_edge_of_a_linear_model():
    torch.testing.assert_close(iterative(logistic, X, Y, 0.1, steps=7), fgsm(logistic, X, Y, 0.1))
    one = universal(logistic, X, Y, 0.1, steps=200, weight=0.0)
    torch.testing.assert_close(X + one, fgsm(logistic, X, Y, 0.1))


@pytest.fixture(scope="module")
def network():
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4), nn.LogSoftmax(dim=1))
    for weight in layers.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return layers, torch.rand(50, 6, generator=generator)


@pytest.mark.parametrize("step", [fgsm, iterative])
def test_bounds_and_targets(network, step):
    layers, x = network
    target = torch.full((50,), 2)
    adverse = step(layers, x, target, 0.05, targeted=True, low=0.0, high=1.0)
    assert (adverse - x).abs().max() <= 0.05 + 1e-6
    assert adverse.min() >= 0
    assert adverse.max() <= 1
    assert (layers(adverse)[:, 2] > layers(x)[:, 2]).double().mean() > 0.95
    away = step(layers, x, layers(x).argmax(dim=1), 0.05)
    assert F.nll_loss(layers(away), layers(x).argmax(dim=1)) > F.nll_loss(layers(x), layers(x).argmax(dim=1))
    assert (away - x).abs().max() == pytest.approx(0.05, abs=1e-6)


def test_more_steps_do_better_than_one(network):
    layers, x = network
    target = torch.full((50,), 2)
    one, many = (step(layers, x, target, 0.3, targeted=True) for step in (fgsm, iterative))
    assert layers(many)[:, 2].mean() > layers(one)[:, 2].mean()


def test_one_noise_for_all_stays_within_the_box_and_serves_others(network):
    layers, x = network
    eps = torch.tensor([0.5, 0.5, 0.0, 0.5, 0.5, 0.1])
    noise = universal(layers, x[:30], torch.full((30,), 1), eps, targeted=True)
    assert (noise.abs() <= eps).all()
    assert noise.shape == (6,)
    assert layers(x[30:] + noise)[:, 1].mean() > layers(x[30:])[:, 1].mean() + 0.3
    small = universal(layers, x[:30], torch.full((30,), 1), eps, targeted=True, weight=100.0)
    assert small.abs().sum() < 0.2 * noise.abs().sum()


def test_no_gradient_is_told(network):
    layers, x = network
    with pytest.raises(Unsupported, match="No gradient passes this classifier"):
        fgsm(lambda x: layers(x.round().detach()), x, torch.zeros(50, dtype=torch.long), 0.1)


# -- on data ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def classifier(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier(digits.spec)
    Trainer(network, digits, Budget(steps=150), seed=0).run()
    return network


def test_a_network_is_fooled_far_beyond_chance(digits, classifier, tmp_path):
    classifier.train()
    before = {name: weight.clone() for name, weight in classifier.named_parameters()}
    attacked = attack(classifier, digits, eps=0.15, limit=200)
    assert classifier.training
    assert all(torch.equal(before[name], weight) for name, weight in classifier.named_parameters())
    assert all(weight.requires_grad for weight in classifier.parameters())
    rows = attacked.judged.rows
    assert rows["as given"]["accuracy"].value > 0.85
    assert rows["random signs"]["accuracy"].value > rows["fgsm"]["accuracy"].value + 0.3
    assert (attacked.adverse - attacked.x).abs().max() <= 0.3 + 1e-6  # eps of the range -1 ... 1
    assert attacked.adverse.abs().max() <= 1
    assert float(attacked.turned.double().mean()) > 0.3
    assert attacked.save(tmp_path / "a.png").exists()


def test_a_target_is_reached(digits, classifier):
    once, often, shared = (
        attack(classifier, digits, eps=0.2, method=method, target="3", limit=200).judged.rows[method]
        for method in ("fgsm", "iterative", "universal")
    )
    assert often["reached target"].value >= once["reached target"].value
    assert often["reached target"].value > 0.5
    assert shared["p(target)"].value > 0.05
    assert "accuracy" in shared


def test_whole_steps_stay_within_reach(digits):
    x = digits.split("test").first(20).x
    adverse = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    whole = in_whole_steps(digits.spec, x, adverse)
    torch.testing.assert_close(whole, digits.spec.quantise(whole))
    assert ((whole - x).abs() <= (adverse - x).abs() + 1e-5).all()
    exact = x + digits.spec.step * (x < 0)
    torch.testing.assert_close(in_whole_steps(digits.spec, x, exact), exact)


def test_an_encoder_becomes_a_classifier(points, tmp_path):
    model = train(create("autoencoder", points, width=16, latent=2), points, steps=200, threads=1, progress=False).model
    network = attackable(model, points, steps=400)
    attacked = attack(network, points, eps=0.5, method="iterative")
    assert attacked.judged["as given"]["accuracy"].value > 0.8
    assert attacked.judged["iterative"]["accuracy"].value < attacked.judged["random signs"]["accuracy"].value - 0.1
    with pytest.raises(DataError, match="not shown as a picture"):
        attacked.save(tmp_path / "a.png")


def test_categories_stay(table):
    model = train(create("m2", table, width=16), table, steps=150, threads=1, progress=False).model
    scale = reach(table.spec)
    colour = next(column for column in table.spec.columns if column.name == "colour")
    assert not scale[colour.slice].any()
    assert int(scale.sum()) == 3
    attacked = attack(attackable(model, table), table, eps=0.5)
    assert torch.equal(attacked.x[:, colour.slice], attacked.adverse[:, colour.slice])
    assert attacked.judged["fgsm"]["accuracy"].value < attacked.judged["as given"]["accuracy"].value


def test_mistakes_are_told(digits, classifier, points):
    for wrong, message in (
        ({"eps": 0.0}, r"eps=0\.0 is not allowed"),
        ({"eps": float("nan")}, "eps=nan is not allowed"),
        ({"method": "fast"}, "method=fast is not allowed"),
        ({"steps": 0}, "steps=0 is not allowed"),
    ):
        with pytest.raises(OptionError, match=message):
            attack(classifier, digits, **wrong)
    with pytest.raises(DataError, match="There is no class 'x'"):
        attack(classifier, digits, target="x")
    with pytest.raises(Unsupported, match=r"gmm neither classifies nor encodes.*m2"):
        attackable(create("gmm", points), points)
    with pytest.raises(Unsupported, match="cannot classify"):
        attack(create("gmm", points), points)
    with pytest.raises(DataError, match="knows the classes"):
        attack(create("m2", digits, width=8), points)
