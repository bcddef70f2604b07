from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from exnihilo.core import DataError, create
from exnihilo.data import load_data
from exnihilo.data.rows import encode_rows, read_frame
from exnihilo.tasks import fill_table
from exnihilo.training import train
from tests.tasks.conftest import mixed_frame


@pytest.fixture(scope="module")
def model(table):
    return train(create("gmm", table, components=1), table, steps=1, threads=1, progress=False).model


def with_holes() -> pd.DataFrame:
    frame = mixed_frame()
    frame.loc[2, "height"] = np.nan
    frame.loc[5, "colour"] = None
    frame.loc[[5, 7], "count"] = np.nan
    frame.loc[9, "species"] = None
    return frame


def test_gaps_are_filled_and_everything_else_stays(model):
    frame, whole = with_holes(), mixed_frame()
    filled = fill_table(model, frame)
    assert filled.cells == {"height": 1, "count": 2, "colour": 1}
    assert list(filled.frame.columns) == list(whole.columns)
    there = frame.notna()
    assert (filled.frame[there].fillna("") == frame[there].fillna("")).all().all()
    assert filled.frame["height"][2] == pytest.approx(whole["weight"][2] / 2, abs=0.5)
    assert filled.frame["colour"][5] == whole["colour"][5]
    assert filled.frame["count"].dtype == np.int64
    assert pd.isna(filled.frame["species"][9])
    assert any("species" in note for note in filled.notes)
    assert frame["height"].isna()[2], "the caller's table is untouched"


def test_a_short_file_with_an_empty_column_is_filled_too(model):
    frame = mixed_frame()[:2].assign(height=np.nan)
    filled = fill_table(model, frame)
    assert filled.frame["height"].notna().all()
    assert any("'height' shows no value" in note for note in filled.notes)
    assert fill_table(model, mixed_frame()[:3]).cells == {}


def test_files_come_back_as_they_went(model, tmp_path):
    path = tmp_path / "holes.csv"
    with_holes().to_csv(path, index=False, sep=";", decimal=",")
    frame = read_frame(path)
    filled = fill_table(model, frame)
    for name in ("filled.csv", "filled.tsv", "filled.parquet"):
        back = read_frame(filled.save(tmp_path / name))
        assert list(back.columns) == list(frame.columns)
        assert not back.drop(columns="species").isna().any().any()
    with pytest.raises(DataError, match=r"filled.png: tables are written as .csv, .tsv or .parquet"):
        filled.save(tmp_path / "filled.png")


def test_dates_and_numbers_as_categories_keep_their_form():
    frame = pd.DataFrame(
        {
            "day": pd.date_range("2024-01-01", periods=40).strftime("%Y-%m-%d"),
            "switch": [0, 1] * 20,
            "level": np.linspace(0, 1, 40),
        }
    )
    data = load_data(frame)
    model = train(create("gmm", data, components=1), data, steps=1, threads=1, progress=False).model
    holes = frame.copy()
    holes.loc[20, "day"] = None
    holes["switch"] = holes["switch"].where(holes.index != 3)
    filled = fill_table(model, holes).frame
    assert filled["day"].str.fullmatch(r"2024-\d\d-\d\d").all()
    assert abs((pd.Timestamp(filled["day"][20]) - pd.Timestamp("2024-01-21")).days) <= 3
    assert set(filled["switch"]) == {0, 1}


def test_mistakes_are_told(model, tmp_path, points):
    frame = mixed_frame()
    for wrong, message in (
        (frame.drop(columns="height").rename(columns={"weight": "weigth"}), "Column 'height' is missing"),
        (frame.assign(colour="green"), "Column 'colour', row 0: 'green' was not seen in training"),
        (frame.assign(height=["tall", *["1.5"] * 199]), "Column 'height', row 0: 'tall' is not a number"),
        (frame.assign(height=np.inf), "Column 'height', row 0: inf is not a finite number"),
        (frame.assign(height=np.nan, weight=np.nan, count=np.nan, colour=None), "Row 0: every value is missing"),
    ):
        with pytest.raises(DataError, match=message):
            fill_table(model, wrong)
    with pytest.raises(DataError, match="There is no file"):
        read_frame(tmp_path / "nothing.csv")
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(DataError, match="is no table"):
        read_frame(tmp_path / "x.npy")
    vectors = train(create("gmm", points, components=1), points, steps=1, threads=1, progress=False).model
    with pytest.raises(DataError, match="only tables have gaps to fill"):
        fill_table(vectors, frame)


def test_rows_are_read_as_the_description_says(table):
    frame = mixed_frame()
    x, mask = encode_rows(table.spec, frame)
    assert mask.all()
    assert (x == table.first().x).all()
