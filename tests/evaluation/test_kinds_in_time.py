"""Texts, sounds and series judged and compared: units, neighbours, rows, pictures, advice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exnihilo.core import DataError
from exnihilo.data import Dataset, load_data
from exnihilo.data.texts import text_dataset
from exnihilo.evaluation import Result, Row, Value, compare, evaluate
from exnihilo.evaluation.advice import advise
from exnihilo.evaluation.baselines import UniformLevels, real_data
from exnihilo.evaluation.likelihood import Unit, likelihood
from exnihilo.evaluation.lineup import LINE_UPS, line_up
from exnihilo.evaluation.ngrams import NGram, runs_of
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.units import in_units_of, same_units
from tests.evaluation.models import Known

WORDS = ["the ", "sea ", "and ", "its ", "green ", "waves, ", "old ", "ships.\n"]


def prose(seed: int = 0, words: int = 9000) -> bytes:
    return "".join(np.random.default_rng(seed).choice(WORDS, size=words)).encode()


@pytest.fixture(scope="module")
def text() -> Dataset:
    return replace(text_dataset({"sea": prose()}, window=48), source="sea")


@pytest.fixture(scope="module")
def reference(text: Dataset) -> Reference:
    return Reference.of(text, n=200)


# -- texts -----------------------------------------------------------------------------------------------------------


def test_bits_per_character_whatever_the_tokens(text: Dataset) -> None:
    x = text.split("test").first(100).x
    key, value = likelihood(UniformLevels(text.spec), text.split("test").first(100), "test")
    assert key == "bits_per_character"
    assert value.value == pytest.approx(np.log2(text.spec.levels), rel=1e-6)
    assert f"windows of 48 characters out of {text.spec.levels}" in value.protocol
    assert Unit.of(replace(text.spec, tokens="bytes"), x).key == "bits_per_byte"
    pytest.importorskip("tokenizers")
    pairs = text_dataset({"sea": prose()}, window=24, tokens="bpe", size=64)
    batch = pairs.split("test").first(100)
    letters = sum(map(len, pairs.spec.decode(batch.x))) / 100
    assert letters > 40
    value = likelihood(UniformLevels(pairs.spec), batch, "test")[1]
    assert value.value == pytest.approx(24 * np.log2(pairs.spec.levels) / letters, rel=1e-6)


def test_orders_are_told_apart_and_copies_are_seen(text: Dataset, reference: Reference) -> None:
    runs = runs_of(text.split("train"))
    results = [evaluate(NGram(text.spec, runs, order), text, reference=reference) for order in (1, 3, 5)]
    bits = [result["bits_per_character"].value for result in results]
    assert bits[0] > bits[1] + 1
    assert bits[2] == pytest.approx(bits[1], abs=0.01)  # three letters tell the word
    assert results[0]["ratio"].value > 3 * results[2]["ratio"].value
    known = [result["in_train"].value for result in results]
    assert known[0] < 0.3 < 0.9 < known[2]
    assert results[2]["numbers"].value > results[0]["numbers"].value == text.spec.levels
    assert not results[2].copies
    copier = Known(text.spec, text.split("train").first(150).x)
    copier.withdrawn = frozenset({"log_prob", "log_prob_bound", "energy", "score"})
    result = evaluate(copier, text, reference=reference)
    assert result["copied"].value == 1
    assert result.copies
    assert result.samples is not None
    assert result.samples.dtype == torch.int64
    noise = evaluate(UniformLevels(text.spec), text, reference=reference)
    assert noise["ratio"].value > 20
    assert noise["in_test"].value < 0.01
    floor = real_data(reference)
    assert "in_test" not in floor.values
    assert floor["copied"].value < 0.1


def test_texts_of_another_alphabet_are_read_in_the_models(text: Dataset) -> None:
    other = replace(text_dataset({"sea": prose(1) + b"the ships" * 200}, window=48), source="other")
    fewer = replace(text_dataset({"sea": prose(2).replace(b"waves, ", b"sea ")}, window=48), source="fewer")
    assert same_units(text.spec, other.spec)
    assert not same_units(text.spec, fewer.spec)
    seen = in_units_of(text.spec, fewer)
    x = seen.split("test").first(5).x
    assert text.spec.decode(x) == fewer.spec.decode(fewer.split("test").first(5).x)
    result = evaluate(NGram(text.spec, runs_of(text.split("train")), 3), fewer, n=64)
    assert result["bits_per_character"].value < 3
    foreign = text_dataset({"sea": prose().replace(b"ships", b"SHIPS")}, window=48)
    with pytest.raises(DataError, match="was not seen in training"):
        in_units_of(text.spec, foreign).first()


def test_a_comparison_of_texts_reads_as_texts(text: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    compare(["gpt:width=8,depth=1"], text, steps=4, n=64, out=tmp_path, say=said.append, threads=1)
    record = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert set(rows) == {"real data", "noise", "1-gram", "3-gram", "5-gram", "gpt:width=8,depth=1"}
    assert sorted(record["best"]["bits_per_character"]) == ["3-gram", "5-gram"]
    assert "-gram apart: they need" in record["advice"]
    assert "no network in this comparison beats them" in record["advice"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<pre>") >= 5 * 6
    assert re.search(r"<pre>[^<]*green", page)
    assert (tmp_path / "pictures" / "samples-5-gram.png").exists()


def test_texts_are_ranked_by_likelihood() -> None:
    def row(name: str, bits: float, deep: bool) -> Row:
        value = Value(bits, bits - 0.01, bits + 0.01, 200, "bits per character")
        ratio = Value(1.0, 0.9, 1.1, 200, "ratio")
        return Row(name, result=Result(name, {"bits_per_character": value, "ratio": ratio}), deep=deep)

    assert advise([row("gpt", 2.0, True), row("5-gram", 2.5, False)], 500) == (
        "gpt foresees this text best: it needs 2 bits a character, the next, 5-gram, 2.5."
    )
    tied = advise([row("gpt", 2.5, True), row("5-gram", 2.5, False)], 50)
    assert tied.startswith("The figures cannot tell gpt and 5-gram apart")
    assert tied.endswith("only 50 test examples, take this as a hint.")


# -- sounds and series -----------------------------------------------------------------------------------------------


def test_sound_is_compared_at_one_rate_and_judged_by_its_spectrum(tmp_path: Path) -> None:
    tones = load_data("tones", n=300)
    slower = replace(tones, spec=replace(tones.spec, rate=4000.0))
    assert not same_units(tones.spec, slower.spec)
    with pytest.raises(DataError, match="-d rate=8000"):
        in_units_of(tones.spec, slower)
    reference = Reference.of(tones, n=100)
    train = tones.split("train").first(200)
    later = Known(tones.spec, train.x.roll(40, dims=2))
    result = evaluate(later, tones, reference=reference)
    assert result["ratio"].value < 30
    assert "8,000 samples a second" in result["nats"].protocol
    assert result["modes"].value == 8
    assert "in its features" in result["distance_ratio"].protocol
    noise = evaluate(Known(tones.spec, 0.1 * torch.randn_like(train.x)), tones, reference=reference)
    assert noise["ratio"].value > 3 * result["ratio"].value


def test_series_are_judged_by_their_statistics() -> None:
    sines = load_data("sines", n=400)
    reference = Reference.of(sines, n=200)
    train = sines.split("train").first(280).x
    fresh = evaluate(Known(sines.spec, -train), sines, reference=reference)  # as good as data, and no copies
    cut = evaluate(Known(sines.spec, torch.cat([train[..., 32:], train[..., :32]], dim=2)), sines, reference=reference)
    assert fresh["ratio"].value < 3
    assert cut["ratio"].value > 3 * fresh["ratio"].value  # a jump in the middle
    assert "model space" in fresh["distance_ratio"].protocol
    assert fresh.samples is not None
    assert len(fresh.samples) == 64


@pytest.mark.parametrize("kind", sorted(LINE_UPS))
def test_there_is_a_line_up_for_every_kind(kind: str) -> None:
    spec = {
        "text": lambda: text_dataset({"sea": prose()}, window=48).spec,
        "audio": lambda: load_data("tones", n=100).spec,
        "series": lambda: load_data("sines", n=100).spec,
        "image": lambda: load_data("digits").spec,
        "table": lambda: load_data("iris").spec,
        "vector": lambda: load_data("moons", n=100).spec,
    }[kind]()
    entries = line_up(None, spec)
    assert entries
    assert all(kind in entry.recipe.kinds for entry in entries)
