from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from exnihilo.core import DataError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.tasks import balance, group_accuracy, group_figures
from exnihilo.tasks.balance import check_place
from exnihilo.training import train


def skewed(n: int = 160, few: int = 20):
    rng = np.random.default_rng(0)
    label = np.array(["many"] * (n - few) + ["few"] * few)
    x = rng.normal(size=(n, 2)) + np.where(label == "few", 3.0, 0.0)[:, None]
    order = rng.permutation(n)
    return load_data(pd.DataFrame({"a": x[order, 0], "b": x[order, 1], "kind": label[order]}), label="kind")


@pytest.fixture(scope="module")
def data():
    return skewed()


@pytest.fixture(scope="module")
def model(data):
    return train(create("cvae", data, width=16, latent=2), data, steps=150, threads=1, progress=False).model


def test_every_class_reaches_the_largest(data, model, tmp_path):
    balanced = balance(model, data)
    held = torch.bincount(data.split("train").first().label)
    few = data.spec.class_index("few")
    assert balanced.counts["few"] == (int(held[few]), int(held.max() - held[few]))
    assert balanced.counts["many"][1] == 0
    assert set(balanced.label.tolist()) == {few}
    assert len(balanced.x) == balanced.counts["few"][1]
    assert list(balanced.judged.rows) == ["real examples", "and smaller classes repeated", "and samples of cvae"]
    for row in balanced.judged.rows.values():
        assert row["worst group"].value <= row["accuracy"].value
        assert row["worst group"].notes[0].startswith("it is ")
    (path,) = balanced.save(tmp_path / "more.csv", column="kind")
    rows = pd.read_csv(path)
    assert list(rows.columns) == ["a", "b", "kind"]
    assert set(rows["kind"]) == {"few"}
    assert (rows[["a", "b"]].mean() > 1).all(), "they are of the class that was asked for"
    assert torch.equal(balance(model, data).x, balanced.x)


def test_pictures_go_to_a_folder_per_class(tmp_path):
    rng = np.random.default_rng(0)
    label = np.array([0] * 40 + [1] * 20)
    data = load_data((rng.integers(0, 256, size=(60, 8, 8)).astype(np.uint8), label))
    model = train(create("cvae", data, width=8, latent=2), data, steps=2, threads=1, progress=False).model
    files = balance(model, data).save(tmp_path / "more")
    assert {file.parent.name for file in files} == {"1"}
    archive = np.load(balance(model, data).save(tmp_path / "more.npz")[0])
    assert archive["x"].shape[1:] == (8, 8)
    assert set(archive["label"]) == {"1"}


def test_the_worst_group_is_named():
    right = torch.tensor([True, True, True, False, True, False])
    group = torch.tensor([0, 0, 1, 1, -1, -1])
    figures = group_figures(right, group, ("a", "b", "empty"), "p", each=True)
    assert figures["accuracy"].value == pytest.approx(4 / 6)
    assert figures["worst group"].value == 0.5
    assert figures["worst group"].notes == ("it is b",)
    assert figures["spread"].value == pytest.approx(0.25)
    assert figures["a"].value == 1
    assert "empty" not in figures


def test_groups_of_a_model_that_classifies(data):
    model = train(create("db_vae", data, width=16, latent=2, resamplings=2), data, steps=100, threads=1, progress=False)
    batch = data.split("test").first()
    figures = group_accuracy(model.model, batch.x, batch.label, batch.label, data.spec.class_names)
    assert figures["accuracy"].value > 0.8
    with pytest.raises(Unsupported, match="gmm cannot classify"):
        group_accuracy(create("gmm", data), batch.x, batch.label, batch.label, data.spec.class_names)


def test_mistakes_are_told(data, model):
    with pytest.raises(Unsupported, match="gmm cannot be asked for a class"):
        balance(train(create("gmm", data), data, steps=1, threads=1, progress=False).model, data)
    named = dataclasses.replace(data, spec=dataclasses.replace(data.spec, class_names=("a", "b")))
    with pytest.raises(DataError, match="knows the classes few, many; these data have a, b"):
        balance(model, named)
    rows = data.split("train").places
    label = torch.arange(len(data)) % 2
    label[rows] = torch.arange(len(rows)) % 2
    label[rows[-1]] = -1 if len(rows) % 2 else label[rows[-1]]
    with pytest.raises(DataError, match="nothing to balance"):
        balance(model, dataclasses.replace(data, label=label))
    with pytest.raises(DataError, match=r"more.png: samples of table data are not written there. Use .csv or .tsv"):
        check_place(data.spec, Path("more.png"))
