from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import exnihilo as xn
from exnihilo.core import DataError
from exnihilo.data import load_data
from exnihilo.tasks import only_classes, without_classes


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_the_others_remain_in_their_splits_with_new_numbers(digits):
    nine = without_classes(digits, "7")
    assert nine.spec.class_names == ("0", "1", "2", "3", "4", "5", "6", "8", "9")
    assert len(nine) + len(only_classes(digits, "7")) == len(digits)
    for split in ("train", "validation", "test"):
        mine, theirs = nine.split(split).first(), digits.split(split).first()
        kept = theirs.label != 7
        assert torch.equal(mine.x, theirs.x[kept])
        names = [nine.spec.class_names[number] for number in mine.label.tolist()]
        assert names == [digits.spec.class_names[number] for number in theirs.label[kept].tolist()]
    assert nine.spec.examples == len(nine.split("train"))
    assert sum(nine.spec.class_shares) == pytest.approx(1.0)
    assert nine.fingerprint != digits.fingerprint
    assert set(only_classes(digits, ["7"]).first().label.tolist()) == {7}


def test_the_rest_is_standardised_by_itself():
    rng = np.random.default_rng(0)
    normal = rng.normal(2.0, 1.0, size=(200, 3))
    far = rng.normal(500.0, 80.0, size=(20, 3))
    data = load_data((np.concatenate([normal, far]), [0] * 200 + [1] * 20))
    left = without_classes(data, "1")
    assert (left.spec.classes, left.first().label) == (0, None)
    x = left.split("train").first().x.double()
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(3).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(dim=0, correction=0), torch.ones(3).double(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(left.spec.decode(left.first().x), normal, atol=1e-3)


def test_a_table_keeps_its_values_gaps_and_steps():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(0, 90, size=120).astype(float), "kind": ["a", "b"] * 60})
    frame.loc[5, "age"] = np.nan
    frame["label"] = ["ok"] * 90 + ["odd"] * 30
    frame.loc[90:, "age"] *= 1000
    data = load_data(frame, label="label")
    left = without_classes(data, "odd")
    back = left.spec.decode(left.first().x)
    np.testing.assert_allclose(back["age"], frame["age"][:90])
    assert back["kind"].tolist() == frame["kind"][:90].tolist()
    assert left.spec.columns[0].scale < 40 < data.spec.columns[0].scale


def test_load_data_takes_it_as_an_option_and_gives_it_back():
    left = xn.load_data("iris", without="setosa, virginica")
    assert len(left) == 50
    assert left.options["without"] == "setosa,virginica"
    assert xn.load_data(left.source, **left.options).fingerprint == left.fingerprint
    assert "without" not in xn.load_data("iris").options


def test_mistakes_are_told(digits):
    with pytest.raises(DataError, match=r"no labels.*-d label=COLUMN"):
        without_classes(load_data(np.random.default_rng(0).normal(size=(60, 4))), "0")
    with pytest.raises(DataError, match=r"There is no class 'seven'.*0, 1, 2"):
        without_classes(digits, "seven")
    with pytest.raises(DataError, match="no training example is left"):
        without_classes(load_data("iris"), "setosa,virginica,versicolor")
    with pytest.raises(DataError, match="before any change"):
        without_classes(digits.map(lambda batch: batch), "7")
