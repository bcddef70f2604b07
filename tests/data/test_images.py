"""Folders of pictures: every format and mode, classes, metadata, lazy reading, and what is refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exnihilo.core import DataError, OptionError
from exnihilo.data import Dataset, load_data

RANDOM = np.random.default_rng(0)


def colours(height: int = 16, width: int = 16) -> np.ndarray:
    return RANDOM.integers(256, size=(height, width, 3)).astype(np.uint8)


def fill(folder: Path, count: int = 12, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> list[np.ndarray]:
    """Numbered PNGs, and their pixels as RGB."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = []
    for place in range(count):
        image = Image.fromarray(colours(*size)).convert(mode)
        image.save(folder / f"{place:02d}.png")
        pixels.append(np.asarray(image.convert("RGB")))
    return pixels


def raw(data: Dataset) -> np.ndarray:
    return np.asarray(data.spec.decode(data.first().x))


def test_a_flat_folder(tmp_path: Path) -> None:
    pixels = fill(tmp_path)
    data = load_data(tmp_path)
    assert (data.spec.shape, data.spec.levels, data.spec.classes) == ((3, 16, 16), 256, 0)
    assert np.array_equal(raw(data), np.stack(pixels))
    assert data.options == {"size": None, "color": "auto", "label": "auto", "memory": 1024}


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "jpg", "jpeg"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    smooth = Image.fromarray(np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8))
    for place in range(8):
        options = {"lossless": True} if suffix == "webp" else {"quality": 95, "subsampling": 0} if "j" in suffix else {}
        smooth.save(tmp_path / f"{place}.{suffix}", **options)
    difference = np.abs(raw(load_data(tmp_path))[0].astype(int) - np.asarray(smooth).astype(int))
    assert difference.max() <= (12 if "j" in suffix else 0)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("P", 3)])
def test_modes_keep_their_pixels(tmp_path: Path, mode: str, channels: int) -> None:
    pixels = np.stack(fill(tmp_path, mode=mode))
    data = load_data(tmp_path)
    assert data.spec.shape == (channels, 16, 16)
    assert data.spec.levels == (2 if mode == "1" else 256)
    expected = pixels if channels == 3 else pixels[..., 0]
    assert np.array_equal(raw(data) * (255 // (data.spec.levels - 1)), expected)


def test_sixteen_bits_are_reduced(tmp_path: Path) -> None:
    values = RANDOM.integers(65536, size=(9, 8, 8)).astype(np.uint16)
    for place, value in enumerate(values):
        Image.fromarray(value).save(tmp_path / f"{place}.png")
    data = load_data(tmp_path)
    assert np.array_equal(raw(data), np.round(values / 257).astype(np.uint8))
    assert any("16 bits" in note for note in data.notes)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    for place in range(8):
        rgba = np.concatenate([colours(), np.full((16, 16, 1), 255 * (place % 2), np.uint8)], axis=2)
        Image.fromarray(rgba).save(tmp_path / f"{place}.png")
    data = load_data(tmp_path)
    assert (raw(data)[0] == 255).all()
    assert not (raw(data)[1] == 255).all()
    assert any("transparency" in note for note in data.notes)


def test_cmyk_is_converted_and_odd_modes_are_refused(tmp_path: Path) -> None:
    for place in range(8):
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / f"{place}.jpg", quality=100)
    red, green, blue = raw(load_data(tmp_path))[0, 8, 8].tolist()
    assert red > 200 > 60 > max(green, blue)
    pictures = [Image.new("RGB", (8, 8))] * 8 + [Image.new("F", (8, 8))]
    with pytest.raises(DataError, match=r"Picture 8 cannot be read as a picture .*mode F"):
        load_data(pictures)


def test_orientation_is_respected(tmp_path: Path) -> None:
    """EXIF 6: the camera was turned, the picture is stored on its side."""
    upright = np.zeros((12, 8, 3), np.uint8)
    upright[:6] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for place in range(8):
        Image.fromarray(np.rot90(upright).copy()).save(tmp_path / f"{place}.png", exif=exif)
    data = load_data(tmp_path)
    assert data.spec.shape == (3, 12, 8)
    assert np.array_equal(raw(data)[0], upright)


# -- sizes and colours -----------------------------------------------------------------------------------------------


def test_mixed_sizes_are_resized_and_cropped_aloud(tmp_path: Path) -> None:
    for place in range(9):
        stripes = np.zeros((40, 60 + place, 3), np.uint8)
        stripes[:, 25:-25] = 255  # the middle is white, the sides are black
        Image.fromarray(stripes).save(tmp_path / f"{place}.png")
    data = load_data(tmp_path)
    assert data.spec.shape == (3, 32, 32)
    assert any("resized to 32 x 32" in note and "-d size=" in note and "cropped" in note for note in data.notes)
    column = raw(data)[0, 16, :, 0]
    assert column[16] == 255
    assert column[0] == column[-1] == 0
    assert load_data(tmp_path, size=16).spec.shape == (3, 16, 16)
    assert any("9 were smaller and enlarged" in note for note in load_data(tmp_path, size=64).notes)


def test_one_size_is_kept_even_if_not_square(tmp_path: Path) -> None:
    fill(tmp_path, size=(9, 7), mode="L")
    assert load_data(tmp_path).spec.shape == (1, 9, 7)


def test_colours(tmp_path: Path) -> None:
    fill(tmp_path / "a", mode="L")
    fill(tmp_path / "b")
    mixed = load_data(tmp_path)
    assert mixed.spec.shape[0] == 3
    assert any("12 of 24 pictures are grey and were made RGB" in note for note in mixed.notes)
    assert load_data(tmp_path, color="grey").spec.shape[0] == 1
    assert load_data(tmp_path / "a", color="rgb").spec.shape[0] == 3
    assert any("grey though stored in colour" in note for note in load_data(tmp_path / "a", color="rgb").notes)
    with pytest.raises(OptionError, match=r"color=gray is not allowed.*auto, grey, rgb"):
        load_data(tmp_path, color="gray")


# -- classes and metadata --------------------------------------------------------------------------------------------


def test_subfolders_are_classes(tmp_path: Path) -> None:
    fill(tmp_path / "cat")
    fill(tmp_path / "dog" / "big", 10)
    fill(tmp_path / "dog" / "small", 5)
    data = load_data(tmp_path)
    assert data.spec.class_names == ("cat", "dog")
    assert data.first().label.tolist() == [0] * 12 + [1] * 15  # type: ignore[union-attr]
    assert any("subfolder is the class: cat, dog" in note for note in data.notes)
    assert load_data(tmp_path, label=None).spec.classes == 0
    assert load_data(tmp_path / "dog").spec.class_names == ("big", "small")
    Image.fromarray(colours()).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match="1 pictures lie in the folder itself"):
        load_data(tmp_path)
    assert len(load_data(tmp_path, label="none")) == 28


def test_one_subfolder_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path / "cat")
    data = load_data(tmp_path)
    assert data.spec.classes == 0
    assert any("one subfolder 'cat': there are no classes" in note for note in data.notes)


def test_train_and_test_folders_are_splits(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 4)):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count)
    data = load_data(tmp_path)
    assert data.spec.class_names == ("cat", "dog")
    assert data.counts() == {"train": 18, "validation": 2, "test": 8}


def metadata(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> None:
    if suffix == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    import pandas as pd

    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_metadata_brings_labels_captions_and_attributes(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path)
    rows = [
        {
            "file_name": f"{place:02d}.png",
            "label": "cat" if place % 2 else "dog",
            "text": f"animal number {place}",
            "smile": "yes" if place < 6 else "no",
            "age": 20 + place,
            "hair": None if place == 3 else ("dark" if place % 3 else "fair"),
        }
        for place in reversed(range(12))
    ]
    metadata(tmp_path, suffix, rows)
    data = load_data(tmp_path)
    batch = data.first()
    assert data.spec.class_names == ("cat", "dog")
    assert batch.label is not None
    assert batch.label.tolist() == [1, 0] * 6
    assert data.captions[2] == "animal number 2"
    assert {fact.name: fact.kind for fact in data.spec.attributes} == {
        "smile": "yes/no",
        "age": "number",
        "hair": "category",
    }
    assert batch.attributes is not None
    smile, age, hair = batch.attributes.T
    assert smile.tolist() == [1.0] * 6 + [0.0] * 6
    assert torch.allclose(age * data.spec.attributes[1].scale + data.spec.attributes[1].mean, torch.arange(20.0, 32))
    assert hair[3].isnan()
    assert hair[0] == data.spec.attributes[2].encode("fair")
    assert not any("metadata" in note and "passed over" in note for note in data.notes)
    by_hair = load_data(tmp_path, label="hair")
    assert by_hair.spec.class_names == ("dark", "fair")
    assert by_hair.first().label[3] == -1  # type: ignore[index]


def test_pictures_without_a_row_are_counted(tmp_path: Path) -> None:
    fill(tmp_path)
    metadata(tmp_path, "csv", [{"file_name": f"{place:02d}.png", "age": place} for place in range(10)])
    data = load_data(tmp_path)
    assert data.first().attributes[-1].isnan().all()  # type: ignore[index]
    assert any("2 files have no row in metadata.csv" in note for note in data.notes)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"file_name": "99.png", "label": "a"}], {}, "names '99.png', but there is no such file"),
        ([{"filename": "00.png", "label": "a"}], {}, r"no column 'file_name'. Did you mean 'filename'\?"),
        ([{"file_name": "00.png"}, {"file_name": "00.png"}], {}, "names '00.png' twice"),
        ([{"file_name": "00.png", "hair": "dark"}], {"label": "hiar"}, r"no such column. Did you mean 'hair'\?"),
        ([{"file_name": "00.png", "label": "a"}], {}, "only one class, 'a'"),
    ],
)
def test_bad_metadata_is_refused(tmp_path: Path, rows: list[dict[str, Any]], options: Any, message: str) -> None:
    fill(tmp_path)
    metadata(tmp_path, "jsonl", rows)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path, **options)


def test_broken_json_lines_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "00.png"}\n{"file_name": \n')
    with pytest.raises(DataError, match=r"metadata.jsonl, line 2"):
        load_data(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name\n00.png\n")
    with pytest.raises(DataError, match=r"holds both metadata.csv, metadata.jsonl"):
        load_data(tmp_path)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_unreadable_and_truncated_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path)
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "03.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "07.png").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match=r"03.png cannot be read as a picture.*So are: 07.png"):
        load_data(tmp_path)
    (tmp_path / "03.png").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"03.png cannot be read as a picture \(not PNG, JPEG, WebP or BMP\)"):
        load_data(tmp_path)


def test_other_files_are_counted_and_gifs_are_not_read(tmp_path: Path) -> None:
    fill(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "moving.gif")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_text("hello")
    data = load_data(tmp_path)
    assert len(data) == 12
    assert any("2 other files were passed over: moving.gif, notes.txt" in note for note in data.notes)
    (tmp_path / "gif.png").write_bytes((tmp_path / "moving.gif").read_bytes())
    with pytest.raises(DataError, match=r"gif.png cannot be read as a picture"):
        load_data(tmp_path)


def test_empty_and_tiny_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 0 pictures .*It is empty"):
        load_data(tmp_path)
    fill(tmp_path, 3)
    with pytest.raises(DataError, match=r"holds 3 pictures .*8 or more are needed. It holds: 00.png"):
        load_data(tmp_path)
    with pytest.raises(DataError, match=r"is a single picture; name the folder"):
        load_data(tmp_path / "00.png")


# -- reading late ----------------------------------------------------------------------------------------------------


def test_reading_late_equals_reading_at_once(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 15, size=(20, 24))
    eager, lazy = load_data(tmp_path, size=16), load_data(tmp_path, size=16, memory=0)
    assert lazy.examples.lazy
    assert any("memory=0" in note for note in lazy.notes)
    assert lazy.spec == eager.spec
    for k in (0, 1, 7, 2):
        a, b = eager.split("train").batch(k, 8, 5), lazy.split("train").batch(k, 8, 5)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.label, b.label)  # type: ignore[arg-type]
    assert torch.equal(eager.split("test").first().x, lazy.split("test").first().x)
    big = lazy.split("train").batch(0, 50, 0)
    assert torch.equal(big.x, eager.split("train").batch(0, 50, 0).x)
    assert lazy.fingerprint == load_data(tmp_path, size=16, memory=0).fingerprint != eager.fingerprint


def test_the_next_batch_is_read_ahead(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    data = load_data(tmp_path, memory=0).split("train")
    data.batch(0, 4, 0)
    waiting = data.examples._waiting  # type: ignore[attr-defined]
    following = data.places[data._drawn(1, 4, 0)].tolist()
    assert set(following) <= set(waiting)
    assert len(waiting) == 8


def test_a_broken_file_is_named_when_it_is_read_late(tmp_path: Path) -> None:
    fill(tmp_path)
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "03.png").write_bytes(whole[: len(whole) // 2])
    data = load_data(tmp_path, memory=0)
    with pytest.raises(DataError, match=r"03.png cannot be read"):
        data.first()


def test_reading_late_survives_a_fork(tmp_path: Path) -> None:
    fill(tmp_path)
    data = load_data(tmp_path, memory=0).split("train")
    expected = data.batch(0, 4, 0).x.sum().item()
    child = os.fork()
    if child == 0:
        os._exit(0 if data.batch(0, 4, 0).x.sum().item() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_order_of_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    pixels = {f"{place}.png": colours() for place in range(20)}
    for folder, order in (("a", list(pixels)), ("b", list(reversed(pixels)))):
        (tmp_path / folder).mkdir()
        for name in order:
            Image.fromarray(pixels[name]).save(tmp_path / folder / name)
    one, other = load_data(tmp_path / "a"), load_data(tmp_path / "b")
    assert torch.equal(one.split("test").first().x, other.split("test").first().x)
    assert one.fingerprint == other.fingerprint


# -- in memory -------------------------------------------------------------------------------------------------------


def test_lists_of_pictures() -> None:
    pictures = [Image.fromarray(colours()) for _ in range(10)]
    assert np.array_equal(raw(load_data(pictures)), np.stack([np.asarray(picture) for picture in pictures]))
    labelled = load_data((pictures, ["a", "b"] * 5), size=8, color="grey")
    assert labelled.spec.shape == (1, 8, 8)
    assert labelled.spec.class_names == ("a", "b")
    with pytest.raises(DataError, match="10 pictures but 3 labels"):
        load_data((pictures, [1, 2, 3]))
