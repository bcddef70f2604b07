from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from exnihilo.core import DataError, OptionError
from exnihilo.data import load_data
from exnihilo.explore import arithmetic, codes_of_draws, read_formula
from tests.explore.models import Drawing, Plain


def blocks() -> Any:
    """Pictures with a square on the left or on the right, and an attribute of the table that says which."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 40, size=(90, 8, 8)).astype(np.uint8)
    side = np.arange(90) % 2
    x[side == 0, 2:6, 0:3] = 250
    x[side == 1, 2:6, 5:8] = 250
    return load_data((x, side))


def test_the_result_is_the_sum_of_means() -> None:
    data = blocks()
    model = Plain(data.spec, torch.eye(64))
    view = arithmetic(model, read_formula(model, "class=1 - class=0 + 2,3", data, split="train"))
    train = data.split("train").first()
    right, left = (train.x[train.label == k].mean(dim=0) for k in (1, 0))
    torch.testing.assert_close(view.result, right - left + train.x[2:4].mean(dim=0), atol=1e-4, rtol=1e-4)
    assert view.base == "examples 2,3"
    assert [group["sign"] for group in view.facts()["groups"]] == ["+", "-", "+"]
    assert view.facts()["groups"][2]["n"] == 2


def test_the_centre_moves_steadily_with_the_strength() -> None:
    data = blocks()
    model = Plain(data.spec, torch.eye(64))
    groups = read_formula(model, "class=1 - class=0 + class=0", data)
    view = arithmetic(model, groups, steps=6)
    light = (view.x[:, 0] + 1).clamp(min=0)
    centre = (light * torch.arange(8)).sum(dim=(1, 2)) / light.sum(dim=(1, 2))
    assert (centre[1:] > centre[:-1] + 0.3).all()
    torch.testing.assert_close(view.result, groups[0].mean.view(1, 8, 8))


def test_beyond_the_result_one_place_is_the_result() -> None:
    data = blocks()
    model = Plain(data.spec, torch.eye(64))
    view = arithmetic(model, read_formula(model, "0 + 1", data), steps=4, reach=2.5)
    assert 1.0 in view.strengths.tolist()
    assert view.strengths[-1] == pytest.approx(2.5)
    x = data.split("test").first(2).x
    torch.testing.assert_close(view.result, x[0] + x[1])


def test_chosen_samples_are_averaged_where_nothing_is_encoded() -> None:
    data = blocks()
    model = Drawing(data.spec, torch.randn(5, 64, generator=torch.Generator().manual_seed(0)))
    view = arithmetic(model, read_formula(model, "- 0,1 + 2 + 7,9,4", seed=6))
    mean = [codes_of_draws(model, numbers, seed=6).mean(dim=0) for numbers in ([0, 1], [2], [7, 9, 4])]
    torch.testing.assert_close(view.result, model.decode((mean[1] - mean[0] + mean[2])[None])[0])


def test_facts_beside_the_class_make_groups() -> None:
    k = np.arange(60)
    frame = pd.DataFrame(
        {"a": k * 1.0, "b": k % 7 * 1.0, "kind": ["x", "y", "z"] * 20, "old": k > 29, "age": k * 2.0, "hue": k % 4}
    )
    frame["hue"] = frame["hue"].map(dict(enumerate("rgbw")))
    data = load_data(frame, label="kind", attributes="old,age,hue")
    model = Plain(data.spec, torch.eye(data.spec.size))
    view = arithmetic(model, read_formula(model, "age=high - age=low + hue=r", data, split="train"))
    train = data.split("train").first()
    assert train.attributes is not None
    names = [attribute.name for attribute in data.spec.attributes]
    age = train.attributes[:, names.index("age")]
    red = train.attributes[:, names.index("hue")] == data.spec.attributes[names.index("hue")].encode("r")
    expected = train.x[age > 0].mean(dim=0) - train.x[age < 0].mean(dim=0) + train.x[red].mean(dim=0)
    torch.testing.assert_close(view.result, expected)
    assert len(view.picture().convert("RGB").getcolors(10**6)) > 20
    yes = read_formula(model, "old=yes", data, split="train")[0]
    assert len(yes.codes) == int(train.attributes[:, names.index("old")].sum())
    with pytest.raises(OptionError, match="age is a number, of which groups are age=high and age=low"):
        read_formula(model, "age=20", data)
    with pytest.raises(DataError, match="hue has no value 'x'"):
        read_formula(model, "hue=x", data)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("class=7 - class=0", r"no class 7.*classes are: 0, 1|no class '7'"),
        ("klass=1 - 3", r"no fact 'klass'. Did you mean 'class'\?"),
        ("class=1 -", "sign without a group"),
        ("smiling", r"'smiling' names no group. Write groups with"),
        ("- 1,2", "At least one group must be added"),
        ("1,2 - 9000", "no example 9000 in the test split"),
    ],
)
def test_a_wrong_formula_says_how_to_write_it(formula: str, message: str) -> None:
    data = blocks()
    model = Plain(data.spec, torch.eye(64))
    with pytest.raises((OptionError, DataError), match=message):
        arithmetic(model, read_formula(model, formula, data))


def test_classes_need_an_encoder() -> None:
    data = blocks()
    with pytest.raises(OptionError, match=r"class=1 names examples.*Choose samples by number.*exnihilo sample RUN"):
        read_formula(Drawing(data.spec, torch.eye(5, 64)), "class=1 - 2", data)
