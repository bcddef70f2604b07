"""Autoregressive models: causal, normalised, and sampled from only what is new."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, Noise, OptionError, create, find_recipe
from exnihilo.models.autoregressive import Autoregressive
from exnihilo.nets.masked import FullWalk, causal_mask, colour_groups
from exnihilo.nets.pixels import PixelCNN

TINY = DataSpec("image", (1, 3, 3), levels=2)
SPECS = {
    "grey": DataSpec("image", (1, 5, 6), levels=17),
    "colour": DataSpec("image", (3, 4, 3), levels=5),
    "fine": DataSpec("image", (3, 3, 3), levels=256),
    "labelled": DataSpec("image", (1, 4, 4), levels=3, classes=3, class_shares=(0.5, 0.3, 0.2)),
}


def shaken(spec: DataSpec, **options: object) -> GenerativeModel:
    """A model with random weights."""
    torch.manual_seed(0)
    model = create("pixelcnn", spec, seed=1, width=12, depth=2, **options)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def all_pictures(spec: DataSpec) -> Tensor:
    """Every picture of two levels."""
    states = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=spec.size)))
    return states.view(-1, *spec.shape)


def test_mask_sums() -> None:
    one = torch.zeros(1, dtype=torch.int64)
    assert causal_mask(5, one, one, strict=True).sum() == 12
    assert causal_mask(5, one, one, strict=False).sum() == 13
    groups = colour_groups(6, 3)
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]
    centre_a = causal_mask(3, torch.arange(3), groups, strict=True)[:, :, 1, 1]
    centre_b = causal_mask(3, torch.arange(3), groups, strict=False)[:, :, 1, 1]
    assert centre_a.int().tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert centre_b.int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_parameters_depend_on_earlier_entries_only(name: str) -> None:
    model = shaken(SPECS[name]).double()
    assert isinstance(model, Autoregressive)
    assert isinstance(model.network, PixelCNN)
    network, shape = model.network, SPECS[name].shape
    x = torch.randn(1, *shape, dtype=torch.float64, requires_grad=True)
    parameters = network(x, None).unflatten(1, (-1, shape[0]))[0]  # [per_entry, *shape]
    order = list(network.order())
    seen = missed = 0
    for position, place in enumerate(order):
        value = parameters[(slice(None), *place)].square().sum()
        gradient = torch.autograd.grad(value, x, retain_graph=True)[0][0]
        reached = [bool(gradient[other].abs() > 1e-12) for other in order]
        assert not any(reached[position:]), f"{place} sees itself or later entries"
        seen += sum(reached)
        missed += position - sum(reached)
    assert seen > 0.95 * (seen + missed)


def test_small_kernels_have_the_blind_spot_of_the_paper() -> None:
    torch.manual_seed(0)
    network = PixelCNN((1, 6, 6), 1, width=8, depth=3, kernel=3).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(network(x)[0, 0, 4, 2], x)[0][0, 0]
    assert gradient[3, 3] != 0
    assert gradient[3, 4] == gradient[3, 5] == 0  # right of what one row up can be reached through
    assert gradient[2, 4] != 0


def test_probabilities_sum_to_one() -> None:
    model = shaken(TINY).double()
    assert model.mass
    total = model.log_prob(all_pictures(TINY).double()).exp().sum()
    assert float(total.detach()) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 1, 1)])
def test_mixture_of_logistics_sums_to_one_over_levels(shape: tuple[int, ...]) -> None:
    spec = DataSpec("image", shape, levels=33)
    model = shaken(spec).double()
    levels = torch.tensor(list(itertools.product(range(33), repeat=spec.size)))
    with torch.no_grad():
        total = model.log_prob(spec.from_levels(levels).double().view(-1, *shape)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-9)


def test_samples_follow_the_probabilities() -> None:
    spec = DataSpec("image", (1, 2, 3), levels=2)
    model, n = shaken(spec), 20000
    model.chunk = n
    code = spec.to_levels(model.sample(n, seed=0)).flatten(1) @ (2 ** torch.arange(6))
    found = torch.bincount(code, minlength=64) / n
    pictures = all_pictures(spec)
    with torch.no_grad():
        exact = torch.zeros(64).index_copy(
            0, spec.to_levels(pictures).flatten(1) @ (2 ** torch.arange(6)), model.log_prob(pictures).exp()
        )
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(64 / (2 * math.pi * n))


@pytest.mark.parametrize("name", SPECS)
def test_the_walk_that_computes_only_what_is_new_equals_whole_passes(name: str) -> None:
    spec = SPECS[name]
    model = shaken(spec, conditional=bool(spec.classes)).double()
    assert isinstance(model, Autoregressive)
    vector = model._vector(3, torch.tensor([0, 1, -1]) % max(1, spec.classes)) if spec.classes else None
    short, full = model.network.walk(3, vector), FullWalk(model.network, 3, vector)
    noise_short, noise_full = Noise(0, 3), Noise(0, 3)
    with torch.no_grad():
        for place in model.network.order():
            a, b = short.predict(place), full.predict(place)
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
            short.write(place, model.likelihood.draw(a, noise_short)[:, 0])
            full.write(place, model.likelihood.draw(b, noise_full)[:, 0])
    assert torch.equal(short.x, full.x)


def test_samples_are_levels_and_their_own_whatever_the_batch() -> None:
    for name, spec in SPECS.items():
        model = shaken(spec)
        x = model.sample(6, seed=3)
        assert torch.equal(spec.quantise(x), x) or torch.allclose(spec.quantise(x), x, atol=1e-6), name
        assert x.std() > 0
        torch.testing.assert_close(model.sample(1, seed=Noise(3, [4])), x[4:5])


def test_half_precision_does_not_round_the_density() -> None:
    spec = SPECS["grey"]
    model, x = shaken(spec), spec.from_levels(torch.randint(0, 17, (3, *spec.shape)))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.log_prob(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, model.log_prob(x).detach(), atol=0, rtol=0.02)


def test_classes_by_bayes_rule() -> None:
    spec = SPECS["labelled"]
    model = shaken(spec, conditional=True)
    x = spec.from_levels(torch.randint(0, 3, (5, *spec.shape)))
    with torch.no_grad():
        joint = torch.stack([model.log_prob(x, label=torch.full((5,), c)) for c in range(3)], dim=1)
        joint = joint + torch.tensor(spec.class_shares).log()
        torch.testing.assert_close(model.log_prob(x), joint.logsumexp(dim=1))
        torch.testing.assert_close(model.classify(x), joint.log_softmax(dim=1))
    assert "classify" in model.capabilities
    assert not torch.equal(model.sample(20, seed=0, label=0), model.sample(20, seed=0, label=1))


def test_labels_are_needed_for_conditioning() -> None:
    with pytest.raises(OptionError, match="labels"):
        create("pixelcnn", TINY, conditional=True)


def test_imputed_entries_follow_the_conditional() -> None:
    spec = DataSpec("image", (1, 1, 4), levels=2)
    model = shaken(spec)
    pictures = all_pictures(spec)
    with torch.no_grad():
        p = model.log_prob(pictures).exp()
    for missing in ([2, 3], [0, 2]):  # a suffix is exact; elsewhere completions are weighed
        known = torch.ones(4, dtype=torch.bool)
        known[missing] = False
        x = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(1, 1, 1, 4)
        fits = (pictures == x).flatten(1)[:, known].all(dim=1)
        exact = p[fits] / p[fits].sum()
        n = 4000
        filled = model.impute(x.expand(n, -1, -1, -1), known.view(1, 1, 1, 4).expand(n, -1, -1, -1), seed=0)
        assert (filled == x).flatten(1)[:, known].all()
        same = (filled[:, None] == pictures[fits][None]).flatten(2).all(dim=2).float().mean(dim=0)
        torch.testing.assert_close(same, exact, atol=0.04, rtol=0)


def test_learning_memorises_a_batch() -> None:
    torch.manual_seed(0)
    spec = SPECS["grey"]
    model = create("pixelcnn", spec, width=16, depth=1, dropout=0.0)
    x = spec.from_levels(torch.randint(0, 17, (8, *spec.shape)))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    first = model.loss(Batch(x))["nats"].item()
    assert first == pytest.approx(30 * math.log(17), rel=1e-5)  # untrained: every level equally likely
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(Batch(x))["nats"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first


def test_levels_have_no_score_in_the_table_either() -> None:
    recipe = find_recipe("pixelcnn")
    model = create("pixelcnn", DataSpec("image", (1, 4, 4), levels=2), width=8, depth=1)
    assert recipe.capabilities == model.capabilities
    assert "score" not in recipe.capabilities
