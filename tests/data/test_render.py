"""Pictures and files made of data and samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

from exnihilo.core import DataError, DataSpec
from exnihilo.data import describe, load_data, preview, render
from exnihilo.data.render import GAP, picture, save_picture, save_samples


def test_a_grid_shows_every_pixel_as_a_square() -> None:
    data = load_data("digits")
    x = data.first(10).x
    image = np.asarray(picture(data.spec, x, columns=4))
    assert image.shape == (3 * (64 + GAP) + GAP, 4 * (64 + GAP) + GAP)
    digit = data.spec.decode(x)[5].astype(float) * 255 / 16
    cell = image[GAP + 66 : GAP + 66 + 64, GAP + 66 : GAP + 66 + 64]
    assert np.array_equal(cell[::8, ::8], np.round(digit).astype(np.uint8))
    assert np.array_equal(cell[::8, ::8], cell[7::8, 7::8])
    assert (image[:GAP] == 255).all()


def test_colours_and_odd_sides() -> None:
    rgb = DataSpec("image", (3, 9, 7), levels=256)
    image = picture(rgb, -torch.ones(3, 3, 9, 7))
    assert image.mode == "RGB"
    assert image.size == (3 * (8 * 7 + GAP) + GAP, 8 * 9 + 2 * GAP)
    black_and_white = DataSpec("image", (1, 4, 4), levels=2)
    assert set(
        np.unique(np.asarray(picture(black_and_white, torch.tensor([-1.0, 1.0]).repeat(8).view(1, 1, 4, 4))))
    ) == {
        0,
        255,
    }
    bits = DataSpec("vector", (16,), levels=2)
    assert picture(bits, torch.ones(3, 16)).size == (3 * 66 + GAP, 66 + GAP)


@pytest.mark.parametrize("name", ["moons", "iris", "diabetes"])
def test_vectors_and_tables_are_plotted_with_ink(name: str) -> None:
    data = load_data(name)
    image = np.asarray(picture(data.spec, data.split("train").first(100).x))
    assert image.ndim == 3
    assert (image.std(axis=2) > 20).mean() > 0.005  # coloured marks


def test_missing_values_and_many_columns_are_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({f"c{place}": np.arange(40.0) + place / 3 for place in range(4)})
    frame.loc[:20, "c0"] = np.nan
    frame["town"] = [None, "Rome"] * 20
    data = load_data(frame)
    x = data.first().x
    everything_missing = x.clone()
    everything_missing[:, 1] = 1.0
    assert picture(data.spec, x).size == picture(data.spec, everything_missing).size == (1200, 440)
    monkeypatch.setattr(render, "MOST_PANELS", 3)
    assert picture(data.spec, x).size == (900, 220)


def test_pictures_carry_their_facts(tmp_path: Path) -> None:
    path = save_picture(
        Image.new("L", (4, 4)), tmp_path / "new" / "a.png", {"recipe": "vae", "seed": 3, "name": "Köln"}
    )
    with Image.open(path) as image:
        assert image.text == {"recipe": "vae", "seed": "3", "name": "Köln"}  # type: ignore[attr-defined]
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = save_picture(Image.new("L", (4, 4)), tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot write mode F"):
        save_picture(Image.new("F", (4, 4)), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_samples_of_pictures(tmp_path: Path) -> None:
    data = load_data("digits")
    x = data.first(12).x
    (grid,) = save_samples(data.spec, x, tmp_path / "grid.png", metadata={"seed": 1})
    assert Image.open(grid).size == picture(data.spec, x).size
    files = save_samples(data.spec, x, tmp_path / "folder", metadata={"seed": 1})
    assert [file.name for file in files] == [f"{place:02d}.png" for place in range(12)]
    with Image.open(files[3]) as image:
        assert image.text == {"seed": "1", "sample": "3"}  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(image), np.round(data.spec.decode(x)[3] * (255 / 16)).astype(np.uint8))
    (archive,) = save_samples(data.spec, x, tmp_path / "x.npz")
    assert np.array_equal(np.load(archive)["x"], data.spec.decode(x))
    with pytest.raises(DataError, match=r"x.csv: samples of image data are not written there. Use .png"):
        save_samples(data.spec, x, tmp_path / "x.csv")


def test_samples_of_tables_have_the_original_columns(tmp_path: Path) -> None:
    data = load_data("iris", label=None)
    x = data.first(20).x
    (path,) = save_samples(data.spec, x, tmp_path / "samples.csv")
    back = pd.read_csv(path)
    assert list(back.columns) == [column.name for column in data.spec.columns]
    assert path.read_text().splitlines()[1] == "5.1,3.5,1.4,0.2,setosa"
    assert torch.allclose(data.spec.encode(back), x, atol=1e-5)
    (archive,) = save_samples(data.spec, x, tmp_path / "samples.npz")
    assert np.load(archive)["species"].tolist() == ["setosa"] * 20
    with pytest.raises(DataError, match=r"Use .csv, .tsv"):
        save_samples(data.spec, x, tmp_path / "samples")


def test_samples_of_vectors(tmp_path: Path) -> None:
    moons = load_data("moons", n=100)
    (path,) = save_samples(moons.spec, moons.first(5).x, tmp_path / "m.tsv")
    assert path.read_text().splitlines()[0] == "x\ty"
    bits = load_data(np.random.default_rng(0).integers(2, size=(20, 4)))
    (path,) = save_samples(bits.spec, bits.first().x, tmp_path / "b.csv")
    assert len(pd.read_csv(path)) == 20


def test_samples_of_series_texts_and_sounds(tmp_path: Path) -> None:
    sines = load_data("sines", n=100)
    (path,) = save_samples(sines.spec, sines.first(3).x, tmp_path / "s.csv")
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["sample", "step", "x0"]
    assert frame["sample"].tolist() == [0] * 64 + [1] * 64 + [2] * 64
    assert np.allclose(frame["x0"].to_numpy().reshape(3, 1, 64), sines.spec.decode(sines.first(3).x), atol=1e-5)
    texts = DataSpec("text", (2,), 3, vocabulary=("a", "b", "é"), tokens="characters")
    x = torch.tensor([[0, 1], [2, 2]])
    (path,) = save_samples(texts, x, tmp_path / "t.txt")
    assert path.read_text(encoding="utf-8") == "=== 0 ===\nab\n\n=== 1 ===\néé\n"
    assert save_samples(texts, x[:1], tmp_path / "t.txt")[0].read_text() == "ab\n"
    assert [path.name for path in save_samples(texts, x, tmp_path / "texts")] == ["0.txt", "1.txt"]
    sound = load_data("tones", n=100)
    files = save_samples(sound.spec, sound.first(3).x, tmp_path / "tones", metadata={"seed": 4})
    wave, rate = soundfile.read(files[2])
    assert rate == 8000
    assert np.allclose(wave, sound.spec.decode(sound.first(3).x)[2], atol=1e-4)
    with soundfile.SoundFile(files[2]) as file:
        assert file.comment == "seed=4\nsample=2"
    (path,) = save_samples(sound.spec, sound.first(3).x, tmp_path / "t.wav")
    assert len(soundfile.read(path)[0]) == 3 * 1024 + 2 * 2000
    with pytest.raises(DataError, match=r"samples of audio data are not written there. Use .wav"):
        save_samples(sound.spec, sound.first(3).x, tmp_path / "t.csv")


def test_every_kind_in_time_has_a_picture(tmp_path: Path) -> None:
    long = np.stack([np.sin(np.arange(500) / 9), np.arange(500.0)], axis=1)
    long[3:6] = np.nan
    text = DataSpec("text", (40,), 3, vocabulary=("a", "\n", "\t"), tokens="characters")
    lines = picture(text, torch.arange(400).view(10, 40) % 3)
    assert np.asarray(lines).min() < 60  # letters are dark
    assert picture(text, torch.zeros(1, 40, dtype=torch.int64)).height < lines.height
    for data in (load_data(long, window=16), load_data("tones", n=100, levels=16)):
        with Image.open(preview(data, tmp_path / "p.png")) as image:
            assert image.width > 600
            assert len(set(image.convert("RGB").getdata())) > 20
    silence = DataSpec("audio", (1, 30), rate=8000.0)
    assert picture(silence, torch.zeros(3, 1, 30)).height > 100
    assert "2 channels, 16 steps" in describe(load_data(long, window=16))[0]
    assert (
        "1,024 samples, 8,000 a second (0.128 s), 16 levels of the mu-law" in describe(load_data("tones", levels=16))[0]
    )


def test_a_description_says_it_all(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": np.arange(40) / 3, "b": ["u", "v", None, "w"] * 10, "age": range(40), "k": ["p", "q"] * 20}
    )
    text = "\n".join(describe(load_data(frame, label="k", attributes="age")))
    for part in (
        "DataFrame (40, 4): 40 examples of kind table: 2 columns, encoded as 5 numbers.",
        "29 train, 3 validation, 8 test",
        "Classes: p 20, q 20.",
        "b: one of u, v, w, missing",
        "Attribute age (number), known of 40.",
        "Missing values, which are modelled too: b (10)",
        "Warning: Only 40 examples",
    ):
        assert part in text
    assert "8 x 8 pixels, grey, 17 levels" in describe(load_data("digits"))[0]
    assert preview(load_data("digits"), tmp_path / "p.png").is_file()


def test_dates_are_written_as_dates(tmp_path: Path) -> None:
    frame = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=20), "n": np.arange(20) / 3})
    frame["moment"] = frame.day + pd.Timedelta(hours=13, minutes=5)
    frame.loc[3, "day"] = pd.NaT
    data = load_data(frame)
    save_samples(data.spec, data.spec.encode(pd.DataFrame({
        "day": [18262.0, np.nan], "n": [0.5, 1.0], "moment": [18263.5, 18264.0],
    })), tmp_path / "rows.csv")  # fmt: skip
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["day"][0] == "2020-01-01"
    assert rows["day"].isna().tolist() == [False, True]
    assert rows["moment"].tolist() == ["2020-01-02 12:00:00", "2020-01-03 00:00:00"]
    with_npz = save_samples(data.spec, data.first(4).x, tmp_path / "rows.npz")[0]
    assert np.load(with_npz)["moment"][0] == "2020-01-01 13:05:00"
