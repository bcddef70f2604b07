"""PixelRNN, gated PixelCNN and PixelCNN++ as models: normalised, conditional, sampled as they say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from exnihilo.core import Batch, DataSpec, ModelError, OptionError, create
from exnihilo.models.autoregressive.family import Autoregressive

BINARY = DataSpec("image", (1, 2, 3), levels=2)
CASES: list[tuple[str, dict[str, object]]] = [
    ("gated_pixelcnn", {"depth": 1, "width": 12}),
    ("pixelrnn", {"depth": 1, "width": 12}),
    ("pixelrnn", {"depth": 1, "width": 12, "layer": "row"}),
    ("pixelcnn_pp", {"width": 6, "components": 2}),
]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=["gated", "diagonal", "row", "plus"])


def shaken(name: str, spec: DataSpec, **options: object) -> Autoregressive:
    """A model with random weights."""
    torch.manual_seed(0)
    model = create(name, spec, **options)
    for weight in model.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    assert isinstance(model, Autoregressive)
    return model


@every_case
@pytest.mark.parametrize(
    "spec", [BINARY, DataSpec("image", (3, 1, 1), levels=4), DataSpec("image", (3, 1, 2), levels=2)], ids=str
)
def test_probabilities_of_all_pictures_sum_to_one(name: str, options: dict[str, object], spec: DataSpec):
    model = shaken(name, spec, **options).double()
    levels = torch.tensor(list(itertools.product(range(spec.levels), repeat=spec.size)))
    with torch.no_grad():
        total = model.log_prob(spec.from_levels(levels).double().view(-1, *spec.shape)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-10)


@every_case
def test_samples_follow_the_probabilities(name: str, options: dict[str, object]):
    model, n = shaken(name, BINARY, **options), 10000
    model.chunk = n
    levels = torch.tensor(list(itertools.product(range(2), repeat=6)))
    code = BINARY.to_levels(model.sample(n, seed=0)).flatten(1) @ (2 ** torch.arange(5, -1, -1))
    found = torch.bincount(code, minlength=64) / n
    with torch.no_grad():
        exact = model.log_prob(BINARY.from_levels(levels).view(-1, *BINARY.shape)).exp()
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(64 / (2 * math.pi * n))


@every_case
def test_classes_by_bayes_rule(name: str, options: dict[str, object]):
    spec = DataSpec("image", (1, 4, 4), levels=3, classes=3, class_shares=(0.5, 0.3, 0.2))
    model = shaken(name, spec, conditional=True, **options)
    x = spec.from_levels(torch.randint(0, 3, (5, 1, 4, 4)))
    with torch.no_grad():
        joint = torch.stack([model.log_prob(x, label=torch.full((5,), c)) for c in range(3)], dim=1)
        joint = joint + torch.tensor(spec.class_shares).log()
        torch.testing.assert_close(model.log_prob(x), joint.logsumexp(dim=1))
        torch.testing.assert_close(model.classify(x), joint.log_softmax(dim=1))
    assert joint.std(dim=1).min() > 1e-3
    with pytest.raises(OptionError, match="labels"):
        create(name, BINARY, conditional=True)


@every_case
@pytest.mark.parametrize(
    "spec",
    [DataSpec("image", (1, 9, 7), levels=256), DataSpec("image", (3, 5, 4), levels=17)],
    ids=["fine", "colour"],
)
def test_learning_memorises_a_batch(name: str, options: dict[str, object], spec: DataSpec):
    torch.manual_seed(0)
    model = create(name, spec, **{**options, "width": 24})  # in eval mode: without dropout
    x = spec.from_levels(torch.randint(0, spec.levels, (4, *spec.shape)))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = model.loss(Batch(x))["nats"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert losses[0] < 1.6 * spec.size * math.log(spec.levels)  # untrained: no level is out of the question
    assert losses[-1] < 0.9 * losses[0]


@every_case
def test_extreme_pictures_have_finite_densities(name: str, options: dict[str, object]):
    spec = DataSpec("image", (3, 5, 4), levels=256)
    model = shaken(name, spec, **options)
    x = torch.stack([torch.full(spec.shape, value) for value in (-1.0, 1.0, 1 / 255)])
    loss = -model.log_prob(x).sum()
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_gaps_are_filled_beside_what_is_known_within_a_pixel():
    """The colours of a pixel are coupled, yet entry by entry: red may be known and green not."""
    spec = DataSpec("image", (3, 1, 1), levels=2)
    model = shaken("pixelcnn_pp", spec, width=6, components=2)
    pictures = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3))).view(8, 3, 1, 1)
    with torch.no_grad():
        p = model.log_prob(pictures).exp().view(2, 2, 2)
    n = 4000
    x = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1).expand(n, -1, -1, -1)
    known = torch.tensor([True, False, True]).view(1, 3, 1, 1).expand(n, -1, -1, -1)
    green = model.impute(x, known, seed=0)[:, 1, 0, 0] > 0
    assert float(green.float().mean()) == pytest.approx(float(p[1, 1, 1] / p[1, :, 1].sum()), abs=0.05)


def test_pictures_without_levels_are_refused():
    with pytest.raises(ModelError, match="levels"):
        create("pixelcnn_pp", DataSpec("image", (1, 4, 4)))
