"""The embedded sets: there without a download, with names, splits and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, OptionError
from exnihilo.data import data_options, list_datasets, load_data


def test_every_set_loads_with_a_sound_description() -> None:
    for entry in list_datasets():
        data = load_data(entry.name)
        assert data.spec.kind == entry.kind
        assert data.source == entry.name
        assert set(data.options) == set(data_options(entry.name))
        assert entry.summary.endswith(".")
        batch = data.split("train").batch(0, 16, 0)
        assert batch.x.shape == (16, *data.spec.shape)
        assert batch.x.dtype == (torch.int64 if entry.kind == "text" else torch.float32)
        assert batch.x.isfinite().all()
        if entry.kind != "text":  # whose windows overlap in training
            assert len(data.split("test")) / len(data) == pytest.approx(0.2, abs=0.02)
        if data.spec.classes:
            assert batch.label is not None
            assert len(data.spec.class_names) == data.spec.classes == len(data.spec.class_shares)


def test_digits() -> None:
    data = load_data("digits")
    assert data.spec.shape == (1, 8, 8)
    assert data.spec.levels == 17
    assert data.spec.class_names == tuple("0123456789")
    assert data.counts() == {"train": 1293, "validation": 144, "test": 360}
    assert data.notes == []
    from sklearn.datasets import load_digits

    assert np.array_equal(data.spec.decode(data.first().x), load_digits().images.astype(np.uint8))


def test_mnist5k() -> None:
    data = load_data("mnist5k")
    assert (data.spec.shape, data.spec.levels, data.spec.classes) == ((1, 28, 28), 256, 10)
    assert data.counts() == {"train": 3600, "validation": 400, "test": 1000}


def test_no_photograph_block_is_in_two_splits() -> None:
    data = load_data("photos", size=64)
    assert data.spec.shape == (3, 64, 64)
    assert data.spec.class_names == ("flower", "temple")
    train, test = (data.split(part).first().x for part in ("train", "test"))
    rows = {row.numpy().tobytes() for row in train[:, :, 0]} & {row.numpy().tobytes() for row in test[:, :, 0]}
    assert not rows  # no line of pixels in common


def test_tables_have_names_and_labels_in_words() -> None:
    iris = load_data("iris")
    assert iris.spec.class_names == ("setosa", "versicolor", "virginica")
    assert iris.spec.columns[0].name == "sepal length (cm)"
    assert iris.spec.class_shares == pytest.approx((1 / 3,) * 3)
    whole = load_data("iris", label=None, drop="petal width (cm)")
    assert [column.kind for column in whole.spec.columns] == ["number"] * 3 + ["category"]
    assert load_data("iris", label="none").spec.classes == 0
    assert load_data("breast_cancer").spec.class_names == ("benign", "malignant")
    assert load_data("diabetes").spec.classes == 0


def test_ring8_is_eight_gaussians_on_the_circle() -> None:
    data = load_data("ring8", n=4000)
    raw = data.spec.decode(data.first().x)
    label = data.first().label
    assert label is not None
    for mode in range(8):
        points = raw[label.numpy() == mode]
        centre = [np.cos(mode * np.pi / 4), np.sin(mode * np.pi / 4)]
        assert points.mean(axis=0) == pytest.approx(centre, abs=0.01)
        assert points.std(axis=0) == pytest.approx([0.02, 0.02], abs=0.003)


def test_grid25_stands_on_its_grid() -> None:
    data = load_data("grid25", n=5000, noise=0.01)
    raw = data.spec.decode(data.first().x)
    assert data.spec.classes == 25
    assert np.abs(raw / 2 - np.round(raw / 2)).max() < 0.05
    assert {tuple(point) for point in np.round(raw / 2).astype(int)} == {
        (x, y) for x in range(-2, 3) for y in range(-2, 3)
    }


def test_moons_lie_on_half_circles() -> None:
    data = load_data("moons", n=2000, noise=0.0)
    raw, label = data.spec.decode(data.first().x), data.first().label
    assert label is not None
    upper = raw[label.numpy() == data.spec.class_index("upper")]
    lower = raw[label.numpy() == data.spec.class_index("lower")]
    assert np.hypot(*upper.T) == pytest.approx(1, abs=1e-5)
    assert np.hypot(lower[:, 0] - 1, lower[:, 1] - 0.5) == pytest.approx(1, abs=1e-5)
    assert upper[:, 1].min() > -1e-5
    assert lower[:, 1].max() < 0.5 + 1e-5


def test_spirals_have_two_arms() -> None:
    data = load_data("spirals", n=2000, noise=0.0)
    raw, label = data.spec.decode(data.first().x), data.first().label
    assert label is not None
    angle = 3 * np.hypot(*raw.T)
    sign = np.where(label.numpy() == 0, 1.0, -1.0)
    assert raw == pytest.approx(np.stack([-np.cos(angle), np.sin(angle)], 1) * (sign * angle / 3)[:, None], abs=1e-4)


def test_checkerboard_fills_the_dark_squares_only() -> None:
    data = load_data("checkerboard", n=8000)
    raw = data.spec.decode(data.first().x)
    squares = np.floor(raw).astype(int)
    assert (squares.sum(axis=1) % 2 == 0).all()
    assert len({tuple(square) for square in squares}) == 8
    assert np.abs(raw).max() <= 2
    assert data.spec.classes == 0


def test_toys_are_functions_of_their_options() -> None:
    assert load_data("moons").fingerprint == load_data("moons").fingerprint
    assert load_data("moons", seed=1).fingerprint != load_data("moons").fingerprint
    assert load_data("moons", n="500").options == {"n": 500, "noise": 0.05, "seed": 0}


def test_mistakes_are_told_with_the_next_step() -> None:
    with pytest.raises(DataError, match=r"no data set named 'digit', and no file or folder.*Did you mean 'digits'\?"):
        load_data("digit")
    with pytest.raises(OptionError, match=r"moons has no option 'nosie'. Did you mean 'noise'\?"):
        load_data("moons", nosie=1)
    with pytest.raises(OptionError, match=r"noise=much is not allowed.*a number from 0 to 1"):
        load_data("moons", noise="much")
    with pytest.raises(DataError, match=r"label=specie: there is no such column. Did you mean 'species'\?"):
        load_data("iris", label="specie")
    with pytest.raises(DataError, match="A dict is no source of data"):
        load_data({"x": 1})
