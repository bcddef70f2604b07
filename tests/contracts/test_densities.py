"""What every recipe with a density must keep: it is normalised, samples follow it, bounds stay below it.

The universal checks U1, U2, U6, U7, U9 and U11 of the likelihood card, over the registry, on data small enough to be
counted or integrated. U3 and U4 (inverses, determinants) are with the maps, U5 (causality) with the networks, U8 with
the families, U10 in `test_every_recipe`, U12 in `benchmarks/likelihood.py`. Diffusion models are not among these: their
densities follow an equation that is solved in steps, and their bounds are estimates, see `tests/models`.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, GenerativeModel, ModelError, create, list_models
from exnihilo.data import load_data
from exnihilo.data.arrays import image_dataset
from exnihilo.evaluation.likelihood import log_likelihood
from exnihilo.training import Budget, Trainer
from tests.contracts.test_every_recipe import SMALL

STEPS = 20
N = 2000  # samples, from which frequencies come


def plane():
    """Two dependent numbers of two classes."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, size=400)
    first = rng.normal(size=400) + 2 * label
    return load_data((np.stack([first, 0.6 * first + 0.5 * rng.normal(size=400)], axis=1), label))


def bits():
    """Four of zeros and ones, of two classes, mostly of even parity."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(400, 4))
    x[:300, 3] = x[:300, :3].sum(axis=1) % 2
    return load_data((x, x[:, 0] ^ (rng.random(400) < 0.2)))


def picture():
    """2 x 3 black and white pixels, of two classes."""
    rng = np.random.default_rng(0)
    ink = (rng.random((400, 2, 3)) < 0.4).astype(np.uint8)
    ink[:, 1] = ink[:, 0] ^ (rng.random((400, 3)) < 0.2)
    return image_dataset(ink, rng.integers(0, 2, size=400), levels=2)


def table():
    """A category and a whole number: six rows."""
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green"], size=400)
    return load_data(pd.DataFrame({"colour": colour, "size": rng.integers(1, 4, size=400)}))


DATA = {"plane": plane(), "bits": bits(), "picture": picture(), "table": table()}
DENSE = [
    entry
    for entry in list_models()
    if entry.family not in ("own", "diffusion") and "log_prob_bound" in entry.capabilities
]
NAMES = {kind: [entry.name for entry in DENSE if kind in entry.kinds] for kind in ("vector", "image", "table")}
PICTURES_ONLY = [name for name in NAMES["image"] if name not in NAMES["vector"]]


@functools.cache
def fitted(name: str, source: str, conditional: bool = False) -> GenerativeModel:
    """A small model after a few steps; skipped where the recipe refuses such data."""
    entry = next(entry for entry in DENSE if entry.name == name)
    sizes = SMALL | {"latent": 1}  # shorter than the shortest example
    options: dict[str, object] = {option: size for option, size in sizes.items() if option in entry.options}
    if conditional:
        options["conditional"] = True
    try:
        model = create(name, DATA[source], seed=0, **options)
    except ModelError as error:
        pytest.skip(str(error))
    model.batch = 32
    Trainer(model, DATA[source], Budget(steps=STEPS), seed=1).run()
    return model


def states(source: str) -> Tensor:
    """All examples of data of two levels, in model space."""
    spec = DATA[source].spec
    index = torch.tensor(list(itertools.product(range(2), repeat=spec.size)))
    return spec.from_levels(index).view(-1, *spec.shape)


def grid(side: int, reach: float = 6.0) -> tuple[Tensor, float]:
    """(points of the middles of side^2 cells [side^2, 2], the area of a cell)."""
    width = 2 * reach / side
    line = (torch.arange(side) + 0.5) * width - reach
    return torch.cartesian_prod(line, line), width**2


def far_from(found: Tensor, exact: Tensor, n: int) -> float:
    """Total variation distance, over what n samples leave to chance (likelihood card, U6)."""
    return float(0.5 * (found - exact).abs().sum()) / (3 * math.sqrt(len(exact) / (2 * math.pi * n)))


def sampled(model: GenerativeModel) -> Tensor:
    model.chunk = N
    return model.sample(N, seed=0)


@pytest.mark.parametrize("name", NAMES["vector"])
def test_densities_integrate_to_one_and_samples_follow_them(name: str) -> None:
    model = fitted(name, "plane")
    if "log_prob" not in model.capabilities or model.mass:
        pytest.skip("no density of numbers")
    x, area = grid(72)
    with torch.no_grad():
        p = model.log_prob(x).double().exp() * area
    assert float(p.sum()) == pytest.approx(1, abs=1e-2)
    coarse = p.view(12, 6, 12, 6).sum(dim=(1, 3)).flatten()
    place = (sampled(model).clamp(-5.99, 5.99) + 6).long()  # of 12 x 12 cells of side 1
    found = torch.bincount(place[:, 0] * 12 + place[:, 1], minlength=144) / N
    assert far_from(found, coarse, N) < 1


@pytest.mark.parametrize("name", [*NAMES["vector"], *PICTURES_ONLY])
def test_probabilities_of_all_states_sum_to_one_and_samples_follow_them(name: str) -> None:
    source = "picture" if name in PICTURES_ONLY else "bits"
    model, x = fitted(name, source), states(source)
    with torch.no_grad():
        if not model.mass:
            total = log_likelihood(model, Batch(x))[0].exp().sum()
            assert 0 < float(total) < 1.05
            return
        if "log_prob" not in model.capabilities:
            total = model.log_prob_bound(x, k=256).double().exp().sum()  # unbiased: it may pass 1 a little
            assert 0 < float(total) < 1.05
            return
        p = model.log_prob(x).double().exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)
    levels = model.spec.to_levels(sampled(model)).flatten(1)
    code = levels @ (2 ** torch.arange(levels.shape[1] - 1, -1, -1))
    assert far_from(torch.bincount(code, minlength=len(x)) / N, p, N) < 1


@pytest.mark.parametrize("name", NAMES["table"])
def test_probabilities_of_rows_sum_to_one_at_most(name: str) -> None:
    model = fitted(name, "table")
    rows = pd.DataFrame(itertools.product(["red", "green"], range(-30, 40)), columns=["colour", "size"])
    with torch.no_grad():
        nats, quality = log_likelihood(model, Batch(model.spec.encode(rows)))
    assert 0 < float(nats.exp().sum()) < 1.02, quality


@pytest.mark.parametrize("name", [entry.name for entry in DENSE if "conditional" in entry.options])
def test_without_a_class_it_is_the_mixture_over_classes(name: str) -> None:
    source = "picture" if name in PICTURES_ONLY else "bits"
    if name not in [*NAMES["vector"], *PICTURES_ONLY]:
        pytest.skip("models neither vectors nor pictures")
    if "log_prob" not in fitted(name, source).capabilities or not fitted(name, source).mass:
        source = "plane"
    model = fitted(name, source, conditional=True)
    x = DATA[source].split("test").first(5).x
    with torch.no_grad():
        joint = torch.stack([model.log_prob(x, label=torch.full((len(x),), c)) for c in range(2)], dim=1)
        joint = joint + torch.tensor(model.spec.class_shares).log()
        torch.testing.assert_close(model.log_prob(x), joint.logsumexp(dim=1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.classify(x), joint.log_softmax(dim=1), atol=1e-4, rtol=1e-4)
    assert model.labelled
    assert model.sample(3, seed=0, label=1).shape == (3, *model.spec.shape)


@pytest.mark.parametrize("name", NAMES["vector"])
def test_the_score_is_the_slope_of_the_density_and_energy_its_negative(name: str) -> None:
    model = fitted(name, "plane")
    if "log_prob" not in model.capabilities or model.mass:
        pytest.skip("no density of numbers")
    torch.manual_seed(0)
    x, v, h = torch.randn(6, 2), torch.randn(6, 2), 2e-3
    with torch.no_grad():
        slope = (model.log_prob(x + h * v) - model.log_prob(x - h * v)) / (2 * h)
        difference = model.energy(x) + model.log_prob(x)
    torch.testing.assert_close((model.score(x) * v).sum(dim=1).detach(), slope, atol=0.03, rtol=0.03)
    torch.testing.assert_close(difference, difference[:1].expand(6), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES["vector"])
def test_densities_are_finite_far_out_and_in_half_precision(name: str) -> None:
    """At 50 deviations with a gradient; at a million without. In bfloat16 the sum is not rounded as well."""
    model = fitted(name, "plane")
    if "log_prob" not in model.capabilities or model.mass:
        pytest.skip("no density of numbers")
    x = (50 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [0.0, 1.0]])).requires_grad_()
    with torch.enable_grad():
        nats = model.log_prob(x)
        nats.sum().backward()
    assert nats.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.no_grad():
        assert model.log_prob(2e4 * x.detach()).isfinite().all()
        near = DATA["plane"].split("test").first(20).x
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model.log_prob(near)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, model.log_prob(near), atol=0.3, rtol=0.1)


@pytest.mark.parametrize("name", [*NAMES["vector"], *PICTURES_ONLY])
def test_bounds_rise_with_samples_and_stay_below_what_is_exact(name: str) -> None:
    model = fitted(name, "picture" if name in PICTURES_ONLY else "plane")
    x = DATA["picture" if name in PICTURES_ONLY else "plane"].split("test").first(16).x
    with torch.no_grad():
        torch.testing.assert_close(  # example i has a stream of its own, whatever the batch
            model.log_prob_bound(x, seed=3)[:1], model.log_prob_bound(x[:1], seed=3), atol=1e-3, rtol=1e-4
        )
        each = {
            k: torch.stack([model.log_prob_bound(x, k=k, seed=seed).double().mean() for seed in range(8)])
            for k in (1, 32)
        }
    error = (each[32] - each[1]).std() / math.sqrt(8)
    assert each[1].mean() <= each[32].mean() + 3 * error + 1e-6
    if "log_prob" in model.capabilities:
        with torch.no_grad():
            exact = model.log_prob(x).double().mean()
        assert each[32].mean() <= exact + 3 * each[32].std() / math.sqrt(8) + 1e-4
