"""Every kind of density is judged in one unit: no model finds examples likelier than the whole probability allows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, create
from exnihilo.data import Dataset, load_data
from exnihilo.evaluation.likelihood import likelihood, log_likelihood
from exnihilo.training import train

LEVELS = 5


def every(levels: int, size: int) -> np.ndarray:
    return np.array(list(itertools.product(range(levels), repeat=size)))


def fitted(name: str, data: Dataset, steps: int = 60, **options: object) -> GenerativeModel:
    model = create(name, data, seed=0, **options)
    return train(model, data, steps=steps, progress=False, threads=1).model  # type: ignore[return-value]


@pytest.fixture(scope="module")
def pixels() -> Dataset:
    """All 625 pictures of 2 x 2 pixels and five levels, twice: nothing can be better than uniform."""
    pictures = np.tile(every(LEVELS, 4).reshape(-1, 2, 2), (2, 1, 1)).astype(np.uint8)
    return load_data(pictures)


@pytest.mark.parametrize(
    ("name", "options", "slack"),
    [
        ("vae", {"width": 16, "latent": 2}, 0.5),  # a mass, bounded
        ("vae", {"width": 16, "latent": 2, "likelihood": "gaussian"}, 1.0),  # a density, bounded
        ("pixelcnn", {"width": 12, "depth": 1}, 0.2),  # a mass, exact
        ("realnvp", {"width": 16, "depth": 4}, 1.0),  # a density, exact
        ("gmm", {"components": 8}, 0.5),
        ("kde", {}, 0.5),
        ("ddpm", {"width": 8}, 8.0),  # a mass, bounded loosely: its finest levels of noise take long to learn
    ],
)
def test_nothing_beats_uniform_on_uniform_levels(name: str, options: dict[str, object], slack: float, pixels) -> None:
    """Gibbs' inequality: over all states the mean of -log2 P is at least log2(5) bits a pixel.

    A sign, a factor or a volume that is wrong anywhere - model space has steps of 0.5 - shifts it by whole bits.
    """
    assert pixels.spec.levels == LEVELS
    assert pixels.spec.step == 0.5
    model = fitted(name, pixels, **options)
    x = torch.from_numpy(every(LEVELS, 4).reshape(-1, 2, 2))
    key, value = likelihood(model, Batch(pixels.spec.encode(x)), "all states")
    assert key == "bits_per_dim"
    assert math.log2(LEVELS) - 0.02 < value.value < math.log2(LEVELS) + slack
    assert model.mass is (name in ("pixelcnn", "ddpm") or (name == "vae" and "likelihood" not in options))


@pytest.mark.parametrize("name", ["rbm", "vae", "gmm", "kde", "realnvp", "ddpm"])
def test_probabilities_of_bits_sum_to_at_most_one(name: str) -> None:
    bits = every(2, 3).astype(np.float32)
    data = load_data(np.concatenate([bits[[0, 3, 5, 6]]] * 40 + [bits] * 5))  # mostly of even parity
    assert data.spec.levels == 2
    small = {"rbm": {"width": 4}, "gmm": {"components": 4}, "kde": {"bandwidth": 0.3}}
    model = fitted(name, data, **small.get(name, {"width": 16}))
    nats, quality = log_likelihood(model, Batch(torch.from_numpy(bits)))
    total = nats.exp().sum().item()
    if name == "rbm":
        assert quality == "exact"
        assert total == pytest.approx(1.0, abs=1e-5)
    else:
        assert 0 < total < 1.02


@pytest.mark.parametrize("name", ["vae", "gmm", "kde", "realnvp", "rbm", "ddpm"])
def test_probabilities_of_rows_sum_to_at_most_one(name: str) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], size=300), "size": rng.integers(1, 8, 300)})
    data = load_data(frame)
    assert data.spec.columns[1].step == 1.0
    assert data.spec.columns[1].scale > 1.2  # so that nats of raw rows and of standardised ones differ
    small = {"rbm": {"width": 4}, "gmm": {"components": 6}, "kde": {"bandwidth": 0.3}}
    model = fitted(name, data, **small.get(name, {"width": 16}))
    rows = pd.DataFrame(itertools.product(["red", "green", "blue"], range(1, 8)), columns=["colour", "size"])
    nats, _ = log_likelihood(model, Batch(data.spec.encode(rows)))
    key, value = likelihood(model, Batch(data.spec.encode(rows)), "all rows")
    assert key == "nats"
    assert value.value > math.log(21) - 0.02  # uniform, the best there is
    assert 0 < nats.exp().sum().item() < 1.02


class Flat(GenerativeModel):
    """50 nats on data scaled to [0, 1], as a density in model space."""

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "flat", {}

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return torch.full((len(x),), 50 - self.spec.size * math.log(self.spec.step * self.spec.levels)).to(x)


def test_golden_bits_per_dimension() -> None:
    """Likelihood card G22: ln p = 50 nats, D = 64, 17 levels on [0, 1]: -(50 / 64 - ln 17) / ln 2."""
    spec = DataSpec("image", (1, 8, 8), levels=17)
    batch = Batch(spec.from_levels(torch.randint(0, 17, (9, 1, 8, 8))))
    assert likelihood(Flat(spec), batch, "golden")[1].value == pytest.approx(2.96035734, abs=1e-6)
