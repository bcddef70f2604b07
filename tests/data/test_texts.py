"""Text: tokens, windows, splits and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, DataSpec, OptionError
from exnihilo.data import load_data

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "the",
    "mat",
    "and",
    "the",
    "dog",
    "while",
    "the",
    "bird",
    "sang",
    "in",
    "the",
    "tree",
]


def written(path: Path, count: int = 400, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(random.choice(WORDS, count)) + "\n")
    return path


def reborn(spec: DataSpec) -> DataSpec:
    return DataSpec.from_json(json.loads(json.dumps(spec.to_json())))


@pytest.mark.parametrize("tokens", ["characters", "bytes"])
def test_characters_and_bytes_come_back(tmp_path: Path, tokens: str) -> None:
    data = load_data(written(tmp_path / "a.txt"), tokens=tokens, window=16)
    x = data.first().x
    assert (data.spec.kind, data.spec.shape, x.dtype) == ("text", (16,), torch.int64)
    assert data.spec.levels == len(data.spec.vocabulary) == (256 if tokens == "bytes" else 18)
    spec = reborn(data.spec)
    assert spec == data.spec
    texts = spec.decode(x)
    assert texts[0] == (tmp_path / "a.txt").read_text()[:16]
    assert torch.equal(spec.encode(texts), x)
    assert torch.equal(spec.quantise(x), x)
    assert torch.equal(spec.from_levels(spec.to_levels(x)), x)


def test_bytes_are_their_own_ids_and_know_every_character() -> None:
    spec = DataSpec("text", (3,), 256, vocabulary=tuple(map(str, range(256))), tokens="bytes")
    assert spec.tokenize("aé").tolist() == [97, 0xC3, 0xA9]
    assert spec.decode(torch.tensor([[97, 0xC3, 0xA9], [0xA9, 98, 99]])) == ["aé", "�bc"]


def test_byte_pairs_are_in_the_description_and_learnt_from_the_training_part_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    data = load_data(path, tokens="bpe", size=40, window=8)
    assert data.spec.levels == len(data.spec.vocabulary) == 40
    assert " the" in data.spec.vocabulary
    spec = reborn(data.spec)
    text = path.read_text()
    ids = spec.tokenize(text)
    assert len(ids) < 0.7 * len(text)
    assert spec.untokenize(ids) == text
    assert spec.untokenize(data.first(1).x[0]) == text[: len(spec.untokenize(data.first(1).x[0]))]
    path.write_text(text[:-200] + "zqzq " * 40)  # in the test block
    again = load_data(path, tokens="bpe", size=40, window=8)
    assert {"z", "q"} <= set(again.spec.vocabulary)
    assert not any("zq" in token for token in again.spec.vocabulary)


def test_byte_pairs_do_not_depend_on_the_process(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt")
    load_data(path, tokens="bpe", size=60, window=8)
    look = (
        "from exnihilo.data import load_data;"
        f" print(load_data({str(path)!r}, tokens='bpe', size=40, window=8).fingerprint)"
    )
    answer = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == load_data(path, tokens="bpe", size=40, window=8).fingerprint


def test_one_text_is_cut_into_blocks_with_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    letters = [chr(0x4E00 + place) for place in range(1200)]  # every character tells its place
    path.write_text("".join(letters))
    data = load_data(path, window=20)
    held = {}
    for name in ("train", "validation", "test"):
        held[name] = data.split(name).first().x
        assert (held[name].diff(dim=1) == 1).all()
    assert (held["train"][1:, 0] - held["train"][:-1, 0] == 5).all()  # a quarter of a window
    assert (held["test"][1:, 0] - held["test"][:-1, 0] == 20).all()  # apart
    assert held["validation"].min() - held["train"].max() > 20
    assert held["test"].min() - held["validation"].max() > 20
    assert held["test"].max() > 1180
    assert any("gap of one window" in note for note in data.notes)


def test_whole_files_go_to_one_split_and_folders_are_classes(tmp_path: Path) -> None:
    for place in range(20):
        author = "ann" if place % 2 else "bob"
        path = tmp_path / author / f"{place}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(chr(ord("a") + place) * 100)
    (tmp_path / "ann" / "short.txt").write_text("abc")
    data = load_data(tmp_path, window=10)
    assert data.spec.class_names == ("ann", "bob")
    seen = [set(data.split(name).first().x.unique().tolist()) for name in ("train", "validation", "test")]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
    batch = data.first()
    assert batch.label is not None
    assert torch.equal(batch.label, 1 - batch.x[:, 0] % 2)
    assert any("left out: 1 of 21 (ann/short.txt)" in note for note in data.notes)
    assert load_data(tmp_path, window=10, label=None).spec.classes == 0


def test_files_may_bring_the_splits(tmp_path: Path) -> None:
    for name, letter in (("train", "a"), ("valid", "b"), ("test", "c")):
        (tmp_path / f"{name}.txt").write_text(letter * 200)
    data = load_data(tmp_path, window=10)
    assert [data.split(name).first().x.unique().tolist() for name in ("train", "validation", "test")] == [[0], [1], [2]]


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", 20)
    with pytest.raises(DataError, match=r"No window of 128 characters fits into texts of at most \d+.*-d window="):
        load_data(path)
    (tmp_path / "tiny.txt").write_text("To be, or not to be, that is the question.")
    with pytest.raises(DataError, match=r"4 windows of 8 characters are too few.*it takes 8. Bring more texts, or"):
        load_data(tmp_path / "tiny.txt", window=8)
    (tmp_path / "tiny.txt").write_text("To be, or not to be.")
    with pytest.raises(DataError, match=r"fits into texts of at most 20\. Bring longer ones\."):
        load_data(tmp_path / "tiny.txt")
    with pytest.raises(DataError, match=r"validation split is empty.*too short for windows of 32 to train"):
        load_data(path, window=32)
    data = load_data(written(tmp_path / "b.txt"), window=16)
    with pytest.raises(DataError, match=r"'X' \(U\+0058, character 4 of the text\) was not seen in training"):
        data.spec.tokenize("the X")
    with pytest.raises(DataError, match="Text 1 has 3 tokens; examples of these data have 16"):
        data.spec.encode(["the cat sat on t", "the"])
    with pytest.raises(DataError, match="size=99 is the vocabulary of tokens=bpe; characters have"):
        load_data(path, size=99)
    with pytest.raises(DataError, match=r"size=10 is not allowed: the text has 1\d different characters"):
        load_data(path, tokens="bpe", size=10)
    with pytest.raises(OptionError, match="tokens=words is not allowed"):
        load_data(path, tokens="words")
    (tmp_path / "c.txt").write_bytes(b"abc\xff" * 100)
    with pytest.raises(DataError, match=r"no text in UTF-8: byte 3 is FF.*-d tokens=bytes"):
        load_data(tmp_path / "c.txt", window=8)
    assert load_data(tmp_path / "c.txt", window=8, tokens="bytes").first(1).x[0].tolist() == [97, 98, 99, 255] * 2


def test_a_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'exnihilo\[text\]'"):
        load_data(written(tmp_path / "a.txt"), tokens="bpe", size=40, window=8)


def test_the_standard_librarys_docstrings() -> None:
    data = load_data("stdlib", window=64)
    assert 60 < data.spec.levels < 300
    assert len(data) > 10_000
    texts = data.spec.decode(data.split("test").first(300).x)
    assert sum(" the " in text for text in texts) > 60
    assert torch.equal(data.spec.encode(texts), data.split("test").first(300).x)
