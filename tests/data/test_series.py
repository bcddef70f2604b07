"""Series in time: arrays and tables, windows, gaps and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from exnihilo.core import DataError
from exnihilo.data import load_data

RANDOM = np.random.default_rng(0)
SHORT = RANDOM.normal(3.0, 2.0, size=(60, 2, 12))


def long(steps: int = 800) -> pd.DataFrame:
    time = np.arange(steps)
    return pd.DataFrame(
        {
            "date": pd.date_range("2020-01-01", periods=steps, freq="h").strftime("%Y-%m-%d %H:%M:%S"),
            "load": 10 + 3 * np.sin(time / 7),
            "wind": 100.0 * time,
        }
    )


def test_many_series_are_examples_standardised_by_channel() -> None:
    data = load_data(SHORT, kind="series")
    assert (data.spec.kind, data.spec.shape, len(data)) == ("series", (2, 12), 60)
    train = data.split("train").first().x
    assert torch.allclose(train.mean((0, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(train.std((0, 2), correction=0), torch.ones(2), atol=1e-5)
    raw = data.spec.decode(data.first().x)
    assert np.allclose(raw, SHORT, atol=1e-5)
    assert torch.allclose(data.spec.encode(raw), data.first().x, atol=1e-6)
    labelled = load_data((SHORT, ["a", "b", "c"] * 20), kind="series")
    assert labelled.spec.class_names == ("a", "b", "c")
    assert labelled.first(3).label.tolist() == [0, 1, 2]  # type: ignore[union-attr]


def test_many_series_can_be_cut_and_stay_in_one_split() -> None:
    raw = np.arange(30)[:, None, None] + np.linspace(0, 0.5, 20)
    data = load_data(raw, kind="series", window=5, stride=5)
    assert len(data) == 120
    seen = [
        set(np.floor(data.spec.decode(data.split(name).first().x) + 0.1).ravel())
        for name in ("train", "validation", "test")
    ]
    assert sum(map(len, seen)) == 30
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])


def test_one_long_series_is_cut_in_time_with_a_gap() -> None:
    time = np.arange(1000.0)
    data = load_data(np.stack([time, -time], axis=1), window=16, stride=4)
    assert data.spec.shape == (2, 16)
    train, validation, test = (data.spec.decode(data.split(name).first().x) for name in ("train", "validation", "test"))
    assert np.allclose(np.diff(train[:, 0], axis=1), 1, atol=1e-3)
    assert np.allclose(train[1:, 0, 0] - train[:-1, 0, 0], 4, atol=1e-3)
    assert round(validation[:, 0].min() - train[:, 0].max()) > 16
    assert round(test[:, 0].min() - validation[:, 0].max()) > 16
    assert np.allclose(train[:, 1], -train[:, 0], atol=1e-3)
    assert load_data(np.sin(time / 9), kind="series").spec.shape == (1, 64)


@pytest.mark.parametrize(("length", "steps"), [(309, 64), (200, 33), (3000, 235)])
def test_a_short_series_keeps_two_windows_to_validate_on(length: int, steps: int) -> None:
    """Of 33 steps: two, or a third of what is left where that is more; of a long series its 8 %."""
    data = load_data(np.arange(float(length))[:, None], window=33, stride=1)
    validation = data.split("validation")
    assert len(validation) == steps - 33 + 1
    assert len(data.split("train")) >= len(validation)


def test_a_file_with_dates_is_a_series(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    long().to_csv(path, index=False)
    data = load_data(path)
    assert (data.spec.kind, data.spec.shape) == ("series", (2, 64))
    assert [column.name for column in data.spec.columns] == ["load", "wind"]
    assert any("'date' rises from row to row" in note for note in data.notes)
    first = data.spec.decode(data.first(1).x)[0]
    assert np.allclose(first[1], 100 * np.arange(64), atol=0.5)
    assert load_data(path, kind="table").spec.kind == "table"
    assert load_data(path, drop="wind", window=32).spec.shape == (1, 32)
    assert load_data(long(), time="date").fingerprint == data.fingerprint
    years = pd.DataFrame({"YEAR": range(1700, 2000), "spots": RANDOM.random(300)})
    assert load_data(years).spec.shape == (1, 16)
    assert load_data(years[["spots"]]).spec.kind == "table"
    assert load_data(years[["spots"]], kind="series").spec.kind == "series"


def test_reversed_rows_are_turned_and_uneven_steps_are_told() -> None:
    frame = long()
    turned = load_data(frame[::-1], time="date")
    assert turned.fingerprint == load_data(frame, time="date").fingerprint
    assert any("rows were reversed" in note for note in turned.notes)
    gap = load_data(frame.drop(index=[50, 51]), time="date")
    assert any("1 of 797 steps in time differ from the usual one (the first at row 50)" in note for note in gap.notes)


def test_missing_values_are_bridged_and_masked() -> None:
    frame = long()
    frame.loc[10:14, "wind"] = np.nan
    data = load_data(frame, window=16, stride=16)
    batch = data.first(1)
    assert batch.mask is not None
    assert torch.nonzero(~batch.mask[0]).tolist() == [[1, step] for step in range(10, 15)]
    assert data.first().x.isfinite().all()
    assert np.allclose(data.spec.decode(batch.x)[0, 1], 100 * np.arange(16), atol=0.5)  # the line between neighbours
    wind = data.spec.columns[1]
    used = np.unique(np.round(data.spec.decode(data.split("train").first().x)[:, 1] / 100).ravel())
    used = used[(used < 10) | (used > 14)] * 100
    assert wind.mean == pytest.approx(used.mean(), rel=1e-6)  # of what was observed


def test_two_values_are_levels() -> None:
    notes = RANDOM.integers(0, 2, size=(40, 3, 8))
    data = load_data(notes, kind="series")
    assert data.spec.levels == 2
    assert np.array_equal(data.spec.decode(data.first().x), notes)


def test_a_label_column_is_the_class_of_windows_that_share_it() -> None:
    frame = long().assign(state=np.where(np.arange(800) % 200 < 100, "off", "on"))
    data = load_data(frame, time="date", label="state", window=10, stride=10)
    assert data.spec.class_names == ("off", "on")
    assert data.first(11).label.tolist() == [0] * 10 + [1]  # type: ignore[union-attr]
    odd = load_data(frame, time="date", label="state", window=16, stride=16)
    assert any("span several classes" in note for note in odd.notes)
    assert -1 in odd.first().label.tolist()  # type: ignore[union-attr]


def test_mistakes_say_what_to_do() -> None:
    frame = long()
    with pytest.raises(DataError, match="unequal lengths: number 0 has the shape \\(1, 9\\), number 1 \\(1, 8\\)"):
        load_data([np.zeros((1, 9)), np.zeros((1, 8))], kind="series")
    holes = frame.copy()
    holes.loc[300:330, "load"] = np.nan
    with pytest.raises(
        DataError, match=r"Channel 'load', row 300 .*31 values in a row are missing.*window of 16.*-d window=62"
    ):
        load_data(holes, window=16)
    several = SHORT.copy()
    several[7, 1] = np.nan
    with pytest.raises(DataError, match=r"Channel 'x1', series 7, step 0 .*12 values"):
        load_data(several, kind="series")
    with pytest.raises(DataError, match=r"Column 'date', row 5 .*does not come after"):
        load_data(frame.iloc[[0, 1, 2, 3, 4, 3, *range(6, 800)]], time="date")
    with pytest.raises(DataError, match=r"no column 'dat'\. Did you mean 'date'"):
        load_data(frame, time="dat")
    with pytest.raises(DataError, match=r"Column 'name' holds no numbers \(row 0: 'x'\).*-d drop=name"):
        load_data(frame.assign(name="x"), time="date")
    with pytest.raises(DataError, match=r"Channel 'load', row 0 .*not a finite number"):
        load_data(frame.assign(load=np.inf), time="date")
    with pytest.raises(DataError, match=r"one series of 5 steps and 60 channels.*\(N, 1, T\)"):
        load_data(np.zeros((5, 60)), kind="series")
    with pytest.raises(DataError, match="window= and stride= are for series, not for kind=vector"):
        load_data(np.zeros((60, 5)), kind="vector", window=3)
    with pytest.raises(DataError, match="are for series, not for kind=table"):
        load_data(frame, kind="table", window=3)
    with pytest.raises(DataError, match="No window of 900 steps fits into series of at most 800"):
        load_data(frame, window=900)


def test_npz_and_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SHORT)
    assert load_data(tmp_path / "a.npy", kind="series").spec.shape == (2, 12)
    np.savez(tmp_path / "a.npz", x_train=SHORT[:40], x_test=SHORT[40:], y_train=[0, 1] * 20, y_test=[0, 1] * 10)
    data = load_data(tmp_path / "a.npz", kind="series")
    assert (data.counts()["test"], data.spec.classes) == (20, 2)


def test_sines_have_the_stated_amplitudes() -> None:
    data = load_data("sines", n=500, noise=0.0)
    assert data.spec.shape == (1, 64)
    raw = data.spec.decode(data.first().x)[:, 0]
    assert 1.3 < np.abs(raw).max() <= 1.5
    second = raw[:, 2:] - 2 * raw[:, 1:-1] + raw[:, :-2]  # of a sine, -w^2 times itself: one ratio per series
    ratio = (second * raw[:, 1:-1]).sum(1) / (raw[:, 1:-1] ** 2).sum(1)
    assert np.allclose(second, ratio[:, None] * raw[:, 1:-1], atol=1e-5)
    periods = np.arccos(1 + ratio / 2) * 64 / (2 * np.pi)
    assert 1 <= periods.min() < 1.2 < 5.8 < periods.max() <= 6
