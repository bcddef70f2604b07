"""Figures on other data than those of the training: in whose units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from exnihilo.core import DataError, create
from exnihilo.data import Dataset, load_data
from exnihilo.evaluation import reference
from exnihilo.evaluation.evaluate import evaluate
from exnihilo.evaluation.extractors import Extractor
from exnihilo.evaluation.units import in_units_of, same_units
from exnihilo.training import train


def table(shift: float = 0.0, colours: tuple[str, ...] = ("blue", "green", "red"), rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(len(colours))
    return pd.DataFrame({"colour": rng.choice(colours, size=rows), "mass": rng.normal(10 + shift, 2, size=rows)})


@pytest.fixture(scope="module")
def home() -> Dataset:
    return load_data(table())


def test_the_same_rows_are_the_same_tensor(home: Dataset) -> None:
    away = load_data(table(40))
    seen = in_units_of(home.spec, away)
    assert seen.spec == home.spec
    assert seen.fingerprint != away.fingerprint
    batch = seen.split("test").first()
    raw = away.spec.decode(away.split("test").first().x)
    pd.testing.assert_frame_equal(home.spec.decode(batch.x), raw, rtol=1e-5)
    assert batch.x[:, home.spec.columns[1].start].mean() > 10  # forty raw units are twenty of its deviations
    assert in_units_of(home.spec, home) is home


def test_categories_keep_their_names(home: Dataset) -> None:
    few = load_data(table(colours=("red", "green")))
    assert few.spec.shape != home.spec.shape
    x = in_units_of(home.spec, few).first().x
    assert x.shape[1] == home.spec.size
    assert home.spec.decode(x)["colour"].tolist() == few.spec.decode(few.first().x)["colour"].tolist()
    with pytest.raises(DataError, match="'gold' was not seen in training"):
        in_units_of(home.spec, load_data(table(colours=("gold", "red")))).first()


def test_classes_go_by_their_names() -> None:
    x = np.random.default_rng(0).normal(size=(90, 3))
    home = load_data((x, np.array(["ant", "bee", "cat"] * 30)))
    away = load_data((x, np.array(["bee", "cat", "dog"] * 30)))
    assert not same_units(home.spec, away.spec)
    assert in_units_of(home.spec, away).first(3).label.tolist() == [1, 2, -1]


class Numbers(Extractor):
    """The numbers themselves, so that nothing has to be trained."""

    name, hash = "numbers", "0"

    def __init__(self, dim: int):
        self.dim = dim

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def test_far_data_are_improbable(home: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "choose_extractor", lambda data: Numbers(data.spec.size))
    model = create("gmm", home, seed=0, components=1)
    train(model, home, steps=1, progress=False, threads=1)
    near, far = (evaluate(model, load_data(table(shift)), n=32) for shift in (0.01, 40.0))
    assert far["nats"].value > near["nats"].value + 100  # (40 / 2)^2 / 2 = 200
    assert any("other data" in note for note in far.notes)
    assert not any("other data" in note for note in evaluate(model, home, n=32).notes)


def test_a_reference_in_other_units_is_refused(home: Dataset) -> None:
    away = load_data(table(40))
    model = create("gmm", home, seed=0, components=1)
    with pytest.raises(DataError, match="other units"):
        evaluate(model, away, reference=reference.Reference.of(away, n=32, extractor=Numbers(away.spec.size)))


def test_a_stored_description_has_the_same_units(home: Dataset) -> None:
    assert same_units(type(home.spec).from_json(home.spec.to_json()), home.spec)
    assert torch.equal(home.spec.steps(), type(home.spec).from_json(home.spec.to_json()).steps())
