"""Arrays, .npy, .npz and idx files: what they are taken for, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, OptionError
from exnihilo.data import load_data

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(256, size=(40, 6, 5)).astype(np.uint8)
COLOUR = RANDOM.integers(256, size=(40, 6, 5, 3)).astype(np.uint8)
POINTS = RANDOM.normal(3.0, 2.0, size=(60, 4))


# -- vectors ---------------------------------------------------------------------------------------------------------


def test_vectors_are_standardised_on_the_training_split() -> None:
    data = load_data(POINTS)
    assert (data.spec.kind, data.spec.shape, data.spec.levels) == ("vector", (4,), 0)
    train = data.split("train").first().x
    assert torch.allclose(train.mean(0), torch.zeros(4), atol=1e-6)
    assert torch.allclose(train.std(0, correction=0), torch.ones(4), atol=1e-5)
    assert np.allclose(data.spec.decode(data.first().x), POINTS, atol=1e-6)
    assert data.source == "array (60, 4)"


def test_two_values_become_bits() -> None:
    bits = RANDOM.integers(2, size=(40, 9))
    for low, high in ((0, 1), (-1, 1), (0.5, 2.5)):
        raw = np.where(bits, high, low)
        data = load_data(raw)
        assert data.spec.levels == 2
        assert torch.equal(data.first().x, torch.from_numpy(bits).float())
        assert np.allclose(data.spec.decode(data.first().x), raw)


def test_tensors_lists_and_labels() -> None:
    x = torch.from_numpy(POINTS)
    assert load_data(x).fingerprint == load_data(POINTS).fingerprint == load_data(POINTS.tolist()).fingerprint
    labelled = load_data((x, torch.arange(60) % 3))
    assert labelled.spec.class_names == ("0", "1", "2")
    words = load_data((POINTS, ["cat", "dog"] * 30))
    assert words.spec.class_names == ("cat", "dog")
    assert words.first().label.tolist() == [0, 1] * 30  # type: ignore[union-attr]
    assert load_data((POINTS, [-1, 1] * 30)).spec.class_names == ("-1", "1")
    assert load_data((POINTS, ["10", "9", "b"] * 20)).spec.class_names == ("9", "10", "b")
    unknown = load_data((POINTS, [2, 5, -1] * 20))
    assert any("-1 was taken as unknown" in note for note in unknown.notes)
    assert unknown.spec.class_names == ("2", "5")
    assert unknown.first(3).label.tolist() == [0, 1, -1]  # type: ignore[union-attr]


def test_columns_that_never_change_are_named() -> None:
    x = POINTS.copy()
    x[:, 2] = 7
    data = load_data(x)
    assert any("never change: x2" in note for note in data.notes)
    assert data.first().x.isfinite().all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0]] * 10), r"nan in row 1, column 0 .*counted from 0.*tables can"),
        (np.array([[1.0, np.inf]] * 10), r"inf in row 0, column 1"),
        (np.ones((20, 3)), "All entries are 1.0"),
        (np.zeros((0, 3)), "is empty"),
        (np.arange(10.0), "one number an example"),
        (POINTS[:5], "5 examples are too few"),
        (np.array([["a", "b"]] * 9), "numbers are needed"),
        ((POINTS, [0, 1]), "60 examples but 2 labels"),
        ((POINTS, [1] * 60), "only one class, 1"),
        ((POINTS, [None] * 60), "no known class"),
        ((POINTS, RANDOM.random(60)), "60 different values .*no classes.*-d label=none"),
    ],
)
def test_bad_arrays_are_refused(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(source)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_bytes_are_pictures() -> None:
    grey = load_data(BYTES)
    assert (grey.spec.kind, grey.spec.shape, grey.spec.levels) == ("image", (1, 6, 5), 256)
    assert np.array_equal(grey.spec.decode(grey.first().x), BYTES)
    assert any("kind=vector" in note for note in grey.notes)
    last = load_data(COLOUR)
    first = load_data(np.moveaxis(COLOUR, 3, 1))
    assert last.spec.shape == first.spec.shape == (3, 6, 5)
    assert torch.equal(last.first().x, first.first().x)
    assert torch.equal(last.first().x, last.spec.encode(COLOUR))


def test_ambiguous_channels_are_said_and_changed() -> None:
    x = RANDOM.integers(256, size=(20, 3, 8, 3)).astype(np.uint8)
    data = load_data(x)
    assert data.spec.shape == (3, 3, 8)
    assert any("channels=first" in note for note in data.notes)
    assert load_data(x, channels="first").spec.shape == (3, 8, 3)
    assert load_data(x, kind="vector").spec.shape == (72,)
    with pytest.raises(DataError, match=r"1, 3 or 4 channels.*channels=last there are 5"):
        load_data(np.moveaxis(COLOUR, 3, 1), channels="last")


def test_levels_are_found() -> None:
    cases = [
        (BYTES % 17, 17, BYTES % 17),
        (BYTES // 128, 2, BYTES // 128),
        ((BYTES // 128) * 255, 2, BYTES // 128),
        ((BYTES >= 128), 2, BYTES // 128),
        (BYTES / 255, 256, BYTES),
        (BYTES / 127.5 - 1, 256, BYTES),
        (BYTES.astype(np.uint16) * 257, 256, BYTES),
        (BYTES.astype(np.float32), 256, BYTES),
    ]
    for raw, levels, expected in cases:
        data = load_data(raw)
        assert data.spec.levels == levels
        assert np.array_equal(data.spec.decode(data.first().x), expected)
    assert load_data(BYTES % 17, levels=32).spec.levels == 32
    with pytest.raises(DataError, match=r"levels=10 is not allowed: pixels go up to 16. Use 17 or more"):
        load_data(BYTES % 17, levels=10)
    with pytest.raises(DataError, match="whole numbers from 0 to 255"):
        load_data(BYTES * -3.5)


def test_transparency_is_laid_on_white() -> None:
    opacity = np.zeros((20, 4, 4, 1), np.uint8)
    opacity[:10] = 255
    x = np.concatenate([RANDOM.integers(256, size=(20, 4, 4, 3)).astype(np.uint8), opacity], axis=3)
    raw = load_data(x, channels="last").spec.decode(load_data(x, channels="last").first().x)
    assert np.array_equal(raw[:10], x[:10, :, :, :3])
    assert (raw[10:] == 255).all()


def test_flat_rows_become_pictures_when_asked() -> None:
    flat = RANDOM.integers(17, size=(40, 64))
    assert any("kind=image makes 8 x 8" in note for note in load_data(flat).notes)
    assert load_data(flat, kind="image").spec.shape == (1, 8, 8)
    with pytest.raises(DataError, match="60 numbers are no square"):
        load_data(flat[:, :60], kind="image")
    with pytest.raises(OptionError, match=r"kind=picture is not allowed.*auto, image, vector"):
        load_data(flat, kind="picture")


# -- files -----------------------------------------------------------------------------------------------------------


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", BYTES)
    assert load_data(tmp_path / "x.npy").fingerprint == load_data(BYTES).fingerprint
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"o.npy cannot be read as an array: it holds Python objects"):
        load_data(str(tmp_path / "o.npy"))
    (tmp_path / "t.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:200])
    with pytest.raises(DataError, match=r"t.npy cannot be read"):
        load_data(tmp_path / "t.npy")


def test_npz_by_the_usual_names(tmp_path: Path) -> None:
    y = np.arange(40) % 2
    for x_name, y_name in (("x", "y"), ("X", "labels"), ("data", "target"), ("images", "label"), ("arr_0", "y")):
        np.savez(tmp_path / "a.npz", **{x_name: BYTES, y_name: y})
        data = load_data(tmp_path / "a.npz")
        assert data.fingerprint == load_data((BYTES, y)).fingerprint
        assert load_data(tmp_path / "a.npz", label=None).spec.classes == 0
    np.savez(tmp_path / "b.npz", pixels=BYTES, names=np.array(["u", "v"] * 20), code=y)
    data = load_data(tmp_path / "b.npz", label="names")
    assert data.spec.class_names == ("u", "v")
    assert any("'pixels' was taken as the examples" in note for note in data.notes)
    with pytest.raises(DataError, match=r"label=nmaes: there is no such array. Did you mean 'names'\?"):
        load_data(tmp_path / "b.npz", label="nmaes")
    np.savez(tmp_path / "c.npz", one=BYTES, two=BYTES)
    with pytest.raises(DataError, match=r"the arrays one, two. Say which are the examples with -d x=NAME"):
        load_data(tmp_path / "c.npz")
    assert load_data(tmp_path / "c.npz", x="two").fingerprint == load_data(BYTES).fingerprint


def test_npz_keeps_its_own_splits(tmp_path: Path) -> None:
    y = np.arange(40) % 2
    np.savez(tmp_path / "m.npz", x_train=BYTES[:30], y_train=y[:30], x_test=BYTES[30:], y_test=y[30:])
    data = load_data(tmp_path / "m.npz")
    assert data.counts() == {"train": 27, "validation": 3, "test": 10}
    test = data.split("test").first()
    assert np.array_equal(data.spec.decode(test.x), BYTES[30:])
    assert test.label is not None
    assert test.label.tolist() == y[30:].tolist()
    np.savez(tmp_path / "n.npz", train=BYTES[:20], valid=BYTES[20:30], test=BYTES[30:])
    assert load_data(tmp_path / "n.npz").counts() == {"train": 20, "validation": 10, "test": 10}
    np.savez(tmp_path / "p.npz", x_train=BYTES[:30], x_test=BYTES[30:, :4])
    with pytest.raises(DataError, match=r"x_train, x_test have different shapes"):
        load_data(tmp_path / "p.npz")
    np.savez(tmp_path / "o.npz", x_train=BYTES[:30], y_train=y[:29], x_test=BYTES[30:], y_test=y[30:])
    with pytest.raises(DataError, match="40 examples but 39 labels"):
        load_data(tmp_path / "o.npz")


def test_broken_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=BYTES)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    with pytest.raises(DataError, match=r"b.npz cannot be read as .npz"):
        load_data(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match="array 'x' cannot be read"):
        load_data(tmp_path / "c.npz")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_folder_keeps_the_published_test_split(tmp_path: Path) -> None:
    labels = (np.arange(40) % 4).astype(np.uint8)
    for name, part in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(BYTES[part])))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels[part]))
    data = load_data(tmp_path)
    assert data.counts() == {"train": 27, "validation": 3, "test": 10}
    test = data.split("test").first()
    assert np.array_equal(data.spec.decode(test.x), BYTES[30:])
    assert test.label is not None
    assert test.label.tolist() == labels[30:].tolist()
    single = load_data(tmp_path / "train-images-idx3-ubyte.gz")
    assert len(single) == 30
    assert single.spec.classes == 4
    assert load_data(tmp_path, label="none").spec.classes == load_data(tmp_path, label=None).spec.classes == 0


def test_cifar_folder(tmp_path: Path) -> None:
    records = RANDOM.integers(256, size=(30, 3073)).astype(np.uint8)
    records[:, 0] = np.arange(30) % 2
    (tmp_path / "data_batch_1.bin").write_bytes(records[:20].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[20:].tobytes())
    (tmp_path / "batches.meta.txt").write_text("plane\ncar\n")
    data = load_data(tmp_path)
    assert (data.spec.shape, data.spec.class_names) == ((3, 32, 32), ("car", "plane"))
    assert data.counts() == {"train": 18, "validation": 2, "test": 10}
    red = data.spec.decode(data.split("test").first().x)[0, :, :, 0]
    assert np.array_equal(red.ravel(), records[20, 1:1025])
    assert data.spec.class_names[data.first(1).label[0]] == "plane"  # type: ignore[index]
    (tmp_path / "test_batch.bin").write_bytes(records[20:].tobytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch.bin is truncated"):
        load_data(tmp_path)


def test_broken_idx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(BYTES)[:-3])
    with pytest.raises(DataError, match=r"truncated or altered: its header speaks of \(40, 6, 5\)"):
        load_data(tmp_path)
    path.write_bytes(b"hello world")
    with pytest.raises(DataError, match="no idx file"):
        load_data(path)
    path.write_bytes(idx(BYTES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(9, dtype=np.uint8)))
    with pytest.raises(DataError, match="holds 40 pictures, train-labels-idx1-ubyte 9 labels"):
        load_data(tmp_path)


def test_what_is_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("hello")
    with pytest.raises(DataError, match=r"files of type \.mp4 are not read.* It reads .csv.*recordings or texts"):
        load_data(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="holds 0 pictures"):
        load_data(tmp_path)
    (tmp_path / "a.cvs").write_text("a,b")
    with pytest.raises(DataError, match=r"files of type .cvs are not read. Did you mean '.csv'\?"):
        load_data(tmp_path / "a.cvs")
