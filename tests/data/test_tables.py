"""Tables: separators, mixed columns, gaps, dates; what is refused names its row and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from exnihilo.core import DataError
from exnihilo.data import Dataset, load_data

RANDOM = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "length": RANDOM.normal(5, 1, N).round(2),
        "count": RANDOM.integers(0, 9, N),
        "town": RANDOM.choice(["Rome", "Oslo", "Bern"], N),
        "glad": RANDOM.choice([True, False], N),
        "species": RANDOM.choice(["wolf", "lynx"], N),
    }
)


def same_rows(data: Dataset, frame: pd.DataFrame) -> None:
    back = data.spec.decode(data.first().x)
    assert list(back.columns) == list(frame.columns)
    for name in frame:
        if frame[name].dtype.kind in "fi":
            assert np.allclose(back[name], frame[name], atol=1e-5, equal_nan=True), name
        else:
            gone = frame[name].isna()
            assert (back[name].isna() == gone).all(), name
            assert back[name][~gone].tolist() == frame[name][~gone].tolist(), name


def test_mixed_columns_come_back() -> None:
    data = load_data(FRAME)
    kinds = {column.name: (column.kind, column.width, column.step) for column in data.spec.columns}
    assert kinds == {
        "length": ("number", 1, 0.0),
        "count": ("number", 1, 1.0),
        "town": ("category", 3, 0.0),
        "glad": ("category", 2, 0.0),
        "species": ("category", 2, 0.0),
    }
    assert data.spec.shape == (9,)
    same_rows(data, FRAME)
    assert data.first().mask is None
    numbers = data.split("train").first().x[:, :2]
    assert torch.allclose(numbers.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(numbers.std(0, correction=0), torch.ones(2), atol=1e-5)


def test_labels_drops_and_attributes_leave_the_table() -> None:
    data = load_data(FRAME, label="species", drop="glad", attributes="count, town")
    assert [column.name for column in data.spec.columns] == ["length"]
    assert data.spec.class_names == ("lynx", "wolf")
    assert [(fact.name, fact.kind) for fact in data.spec.attributes] == [("count", "number"), ("town", "category")]
    batch = data.first()
    assert batch.attributes is not None
    assert batch.attributes.shape == (N, 2)
    assert batch.attributes[:, 0].mean().abs() < 1e-5
    assert batch.attributes[0, 1] == data.spec.attributes[1].encode(FRAME["town"][0])
    assert batch.label is not None
    assert [data.spec.class_names[number] for number in batch.label] == FRAME["species"].tolist()


def test_a_class_is_not_taken_silently() -> None:
    assert any("-d label='species' would make it the class" in note for note in load_data(FRAME).notes)
    assert not any("would make it" in note for note in load_data(FRAME, label="species").notes)


def test_missing_values_are_modelled_and_masked() -> None:
    frame = FRAME.copy()
    frame.loc[[1, 5], "length"] = np.nan
    frame.loc[[2], "town"] = None
    data = load_data(frame)
    batch = data.first()
    assert batch.mask is not None
    assert batch.x.isfinite().all()
    columns = {column.name: column for column in data.spec.columns}
    assert columns["length"].missing
    assert columns["town"].categories == ("Bern", "Oslo", "Rome", None)
    assert not batch.mask[[1, 5], columns["length"].slice].any()
    assert not batch.mask[2, columns["town"].slice].any()
    assert int((~batch.mask).sum()) == 2 * 2 + 4
    assert any("length (2), town (1)" in note for note in data.notes)
    same_rows(data, frame)
    noisy, log_q = data.spec.dequantise(batch.x)
    assert noisy.isfinite().all()
    assert torch.allclose(data.spec.quantise(noisy), batch.x, atol=1e-5)
    assert log_q.isfinite().all()


def test_whole_numbers_have_steps() -> None:
    frame = pd.DataFrame({"tens": np.arange(N) * 10, "wide": RANDOM.integers(0, 10**9, N), "bits": [3, 8] * 30})
    tens, wide, bits = load_data(frame).spec.columns
    assert (tens.step, wide.step) == (10.0, 0.0)
    assert (bits.kind, bits.categories) == ("category", (3, 8))


def test_two_numbers_with_gaps_and_nullable_integers() -> None:
    frame = pd.DataFrame({"n": np.arange(N) / 7, "bits": [3, 8, None] * 20})
    frame["whole"] = pd.array([1, 2, None] * 20, dtype="Int64") * 10 + 5
    frame["odd"] = pd.array([1, 2, 4, None] * 15, dtype="Int64")
    data = load_data(frame)
    bits, odd = data.spec.columns[1], data.spec.columns[3]
    assert bits.categories == (3, 8, None)
    assert all(type(value) is int for value in bits.categories[:2])
    assert (odd.kind, odd.step, odd.missing) == ("number", 1.0, True)
    assert data.spec.decode(data.first(3).x)["bits"].tolist()[:2] == [3, 8]


def test_dates_become_days() -> None:
    frame = FRAME.assign(day=pd.date_range("2024-01-01", periods=N).strftime("%Y-%m-%d"))
    data = load_data(frame)
    assert any("'day' holds dates: taken as days since 1970" in note for note in data.notes)
    assert data.spec.decode(data.first(1).x)["day"][0] == 19723
    stamped = load_data(FRAME.assign(day=pd.date_range("2024-01-01", periods=N, freq="h")))
    assert stamped.spec.decode(stamped.first(2).x)["day"][1] == pytest.approx(19723 + 1 / 24, abs=1e-4)


def test_ids_are_pointed_out_or_refused() -> None:
    numbered = load_data(FRAME.assign(id=range(N)))
    assert any("'id' looks like an id or a row number" in warning for warning in numbered.warnings)
    assert load_data(FRAME.assign(id=range(N)), drop="id").warnings == load_data(FRAME).warnings
    with pytest.raises(DataError, match=r"'code' holds 60 different texts .*like a name or an id.*-d drop=code"):
        load_data(FRAME.assign(code=[f"k{row}" for row in range(N)]))


def test_constant_columns_are_named() -> None:
    data = load_data(FRAME.assign(same=3, also="x"))
    assert any("never change: same, also" in warning for warning in data.warnings)
    assert data.first().x.isfinite().all()


def test_a_number_that_never_changes_stays_what_it_is_in_samples() -> None:
    data = load_data(FRAME.assign(same=7, fraction=0.25))
    rows = data.spec.decode(data.spec.quantise(data.first().x + 0.4 * torch.randn(N, data.spec.size)))
    assert set(rows["same"]) == {7}
    assert set(rows["fraction"]) == {0.25}


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (FRAME.assign(bad=[1.5] * 59 + [np.inf]), {}, r"'bad', row 59: inf is not a finite number"),
        (FRAME.assign(bad=[*map(str, RANDOM.random(59)), "n.a."]), {}, "'bad', row 59: 'n.a.' is not a number"),
        (FRAME.assign(bad=np.nan), {}, "'bad' is empty. .*drop=bad"),
        (FRAME.assign(bad=[[1]] * N), {}, "'bad' holds values of type list"),
        (FRAME, {"drop": "lenght"}, r"drop=lenght: there is no such column. Did you mean 'length'\?"),
        (FRAME, {"label": "length"}, "'length' holds .* different values .*no classes"),
        (FRAME.assign(one="x"), {"label": "one"}, "only one class, 'x'"),
        (FRAME[["town"]], {"label": "town"}, "No column is left"),
        (FRAME.head(5), {}, "5 examples are too few"),
        (pd.DataFrame(np.ones((20, 2)), columns=["a", "a"]), {}, "share a name: a"),
    ],
)
def test_bad_tables_are_refused(frame: pd.DataFrame, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(frame, **options)


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("|", ".")])
def test_separators_and_decimals_are_found(tmp_path: Path, sign: str, decimal: str) -> None:
    FRAME.to_csv(tmp_path / "t.csv", sep=sign, decimal=decimal, index=False)
    data = load_data(tmp_path / "t.csv")
    same_rows(data, FRAME)
    assert any("separated by" in note for note in data.notes) == (sign != ",")
    assert any("decimal comma" in note for note in data.notes) == (decimal == ",")


def test_all_table_files_are_the_same_table(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    FRAME.to_csv(tmp_path / "a.csv.gz", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet")
    first, *others = [load_data(tmp_path / name) for name in ("a.csv", "a.tsv", "a.csv.gz", "a.parquet")]
    assert all(other.fingerprint == first.fingerprint for other in others)
    assert first.fingerprint == load_data(FRAME).fingerprint
    assert first.source == str(tmp_path / "a.csv")


def test_a_file_without_header_and_with_question_marks(tmp_path: Path) -> None:
    path = tmp_path / "adult.csv"
    path.write_text("".join(f"{row % 7}, Private, {'?' if row == 3 else row}\n" for row in range(30)))
    data = load_data(path)
    assert [column.name for column in data.spec.columns] == ["c1", "c2", "c3"]
    assert data.spec.columns[2].missing
    assert len(data) == 30
    assert any("no header" in note for note in data.notes)
    assert any("? was taken as a missing value" in note for note in data.notes)
    path.write_text(path.read_text().replace("0, Private, 0", "1996, Private, x", 1))
    assert len(load_data(path, header="yes")) == 29


def test_remarks_above_the_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("made by hand\n" + FRAME.to_csv(index=False))
    with pytest.raises(DataError, match=r"first line has fewer fields.*-d skip=1"):
        load_data(path)
    same_rows(load_data(path, skip=1), FRAME)


def test_quoted_fields_and_latin_letters(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = 'city,n\n"Köln, am Rhein",1\nRom,2\n"Köln, am Rhein",3\n' * 1 + 'Rom,4\n"Köln, am Rhein",5\n' * 6
    path.write_bytes(text.encode("latin-1"))
    data = load_data(path)
    assert data.spec.columns[0].categories == ("Köln, am Rhein", "Rom")
    assert any("Latin-1" in note for note in data.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n" + b"1,2\n" * 20 + b"1,2,3\n", "Expected 2 fields in line 22, saw 3"),
        (b"a,a\n" + b"1,2\n" * 20, "share a name: a"),
        (b"PK\x03\x04\0\0\0\0", "is no text"),
        (b"a,b\n" + b"1,inf\n" * 20, "'b', row 0: inf"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "t.csv")


def test_truncated_gzip_and_foreign_parquet(tmp_path: Path) -> None:
    whole = gzip.compress(FRAME.to_csv(index=False).encode())
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t.csv.gz cannot be read"):
        load_data(tmp_path / "t.csv.gz")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"t.parquet cannot be read as Parquet"):
        load_data(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("no engine")

    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(DataError, match="pip install pyarrow"):
        load_data(tmp_path / "t.parquet")
