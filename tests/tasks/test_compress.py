from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.data.audio_files import save_wave
from exnihilo.data.texts import text_dataset
from exnihilo.tasks import (
    compress,
    compress_sound,
    compress_text,
    decompress,
    decompress_sound,
    decompress_text,
)
from exnihilo.tasks.coding import TOTAL, Decoder, encode, ends_of, frequencies, shares
from exnihilo.tasks.compress import HEAD, SEAL, rounding
from exnihilo.tasks.judged import fitting
from exnihilo.training import train


@torch.no_grad()
def bits(model, x) -> float:
    """-log2 p of all examples together."""
    return -float(model.eval().log_prob(x).double().sum()) / math.log(2)


OVERHEAD = SEAL.size + HEAD.size + 40  # bytes of header, version and state, at most


@pytest.fixture(scope="module")
def binary():
    digits = load_data("digits")
    return load_data(((digits.spec.decode(digits.first(600).x) >= 8).astype(np.uint8), digits.first(600).label))


@pytest.fixture(scope="module")
def pixels(binary):
    model = create("pixelcnn", binary, width=12, depth=1, seed=0)
    return train(model, binary, steps=60, threads=1, progress=False).model


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "words.txt"
    rng = np.random.default_rng(0)
    path.write_text(" ".join(rng.choice(["alpha", "beta", "gamma", "delta"], size=1500)))
    return load_data(path, window=16)


@pytest.fixture(scope="module")
def gpt(words):
    model = create("gpt", words, width=16, depth=1, seed=0)
    return train(model, words, steps=80, threads=1, progress=False).model


def tone(samples: int) -> np.ndarray:
    """A falling tone with a little hiss, at 500 samples a second."""
    steps, chance = np.arange(samples), np.random.default_rng(0)
    return (0.6 * np.sin(steps * (0.6 - steps / samples / 4)) + 0.02 * chance.normal(size=samples)).astype(np.float32)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    pytest.importorskip("soundfile")
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    save_wave(tone(6000), 500, path, {})
    return load_data(path, window=32, levels=16)


# -- the coder -------------------------------------------------------------------------------------------------------


def test_frequencies_are_whole_positive_and_fill_the_range():
    p = torch.rand(50, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 20
    p[0], p[0, 7] = 0.0, 1.0
    table = frequencies(p / p.sum(dim=1, keepdim=True))
    assert table.sum(dim=1).eq(TOTAL).all()
    assert table.min() == 1
    assert table[0, 7] == TOTAL - 299
    assert torch.equal(table, frequencies(p / p.sum(dim=1, keepdim=True)))


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 8.0])
def test_symbols_come_back_and_take_as_many_bits_as_they_deserve(sharpness):
    generator = torch.Generator().manual_seed(1)
    p = (sharpness * torch.randn(4000, 12, generator=generator, dtype=torch.float64)).softmax(dim=1)
    chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
    table = frequencies(p)
    content = encode(*shares(table, chosen))
    decoder = Decoder(content)
    assert [decoder.take(ends) for ends in ends_of(table)] == chosen.tolist()
    assert decoder.finished
    ideal = -float(p.gather(1, chosen[:, None]).log2().sum()) / 8
    assert len(content) <= 1.001 * ideal + 10
    assert encode([], []) == (1 << 40).to_bytes(9, "big")


# -- models ----------------------------------------------------------------------------------------------------------


def test_pictures_come_back_in_as_many_bytes_as_the_model_promises(pixels, binary):
    x = binary.split("test").first().x
    kept = compress(pixels, x)
    assert torch.equal(decompress(pixels, kept.content), x)
    ideal = bits(pixels, x)
    assert kept.ideal_bits == pytest.approx(ideal, rel=1e-4)
    assert len(kept.content) <= 1.01 * ideal / 8 + OVERHEAD
    assert len(kept.content) < kept.sizes()["xz -9e"]
    assert len(kept.plain) == x.numel() // 8
    assert compress(pixels, x).content == kept.content


@pytest.mark.parametrize(
    ("name", "options"),
    [("made", {"width": 16}), ("pixelcnn", {"width": 6, "depth": 1, "conditional": True}), ("fvsbn", {})],
)
def test_other_likelihoods_and_classes(name, options, binary):
    model = create(name, binary, seed=0, **options)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(0))
    x = binary.split("test").first(20).x
    kept = compress(model.eval(), x)
    assert torch.equal(decompress(model, kept.content), x)
    assert kept.ideal_bits == pytest.approx(bits(model, x), rel=1e-4)


def test_many_levels_have_a_mixture_of_logistics():
    x = np.random.default_rng(0).integers(0, 200, size=(40, 3, 3, 3)).astype(np.uint8)
    data = load_data(x, levels=256)
    model = create("pixelcnn_pp", data, seed=0, width=4, components=2, levels=1).eval()
    shown = data.first(4).x
    kept = compress(model, shown)
    assert torch.equal(decompress(model, kept.content), shown)
    assert kept.ideal_bits == pytest.approx(bits(model, shown), rel=1e-3)


@pytest.mark.parametrize("length", [1, 16, 17, 100])
def test_a_text_of_any_length_comes_back(gpt, length):
    text = ("beta gamma alpha delta " * 10)[:length].encode()
    kept = compress_text(gpt, text)
    assert decompress_text(gpt, kept.content) == text
    assert kept.entries == length
    if length % 16 == 0:
        x = gpt.spec.encode([text.decode()])
        assert kept.ideal_bits == pytest.approx(bits(gpt, x), rel=1e-4)


def test_texts_take_what_the_model_promises(gpt, words):
    x = words.split("test").first().x
    kept = compress(gpt, x)
    assert torch.equal(decompress(gpt, kept.content), x)
    assert kept.plain == "".join(words.spec.decode(x)).encode()
    assert len(kept.content) <= 1.01 * kept.ideal_bits / 8 + OVERHEAD
    assert len(kept.content) < 0.7 * len(kept.plain)


# -- mistakes --------------------------------------------------------------------------------------------------------


def test_damaged_and_foreign_files_are_refused(pixels, gpt, binary):
    content = compress(pixels, binary.first(3).x).content
    for damaged in (content[:-4], content[:20], content[:-1] + bytes([content[-1] ^ 1]), content + b"\0"):
        with pytest.raises(DataError, match="damaged"):
            decompress(pixels, damaged)
    with pytest.raises(DataError, match="no file that"):
        decompress(pixels, b"PK\3\4 something else")
    other = create("pixelcnn", binary, width=12, depth=1, seed=1)
    with pytest.raises(DataError, match="another model than this pixelcnn"):
        decompress(other, content)
    with pytest.raises(DataError, match="no text; read it by"):
        decompress_text(pixels, content)
    with pytest.raises(DataError, match="read it by `decompress_text`"):
        decompress(gpt, compress_text(gpt, b"alpha").content)
    with pytest.raises(DataError, match="was not seen in training"):
        compress_text(gpt, "Ägypten".encode())
    other_words = text_dataset({"words": b"delta omega " * 300}, window=16)
    with pytest.raises(DataError, match="other columns, categories, levels, tokens"):
        fitting(gpt, other_words)
    with pytest.raises(DataError, match="no text in UTF-8"):
        compress_text(gpt, b"alpha \xff")


def test_models_that_cannot_say_why(binary, points):
    for model, why in (
        (create("made", binary, masks=2, width=8), "average over several orders"),
        (create("made", points, width=8), "its data are continuous"),
        (create("chow_liu", binary), "of whole examples, not entry by entry"),
        (create("vae", points), "no exact log_prob"),
    ):
        with pytest.raises(Unsupported, match=why):
            compress(model, torch.zeros(2, *model.spec.shape))


def test_a_recording_of_any_length_comes_back_at_the_models_levels(sound):
    model = create("wavenet", sound, width=8, depth=4, blocks=1, seed=0)
    model = train(model, sound, steps=150, threads=1, progress=False).model
    wave = torch.from_numpy(tone(333))  # ten windows and a part of one
    kept = compress_sound(model, wave)
    back = decompress_sound(model, kept.content)
    assert back.shape == wave.shape
    assert kept.entries == 333
    assert len(kept.content) < 333 / 2  # four bits a sample would be half a byte
    assert rounding(model.spec, wave) == pytest.approx(
        10 * np.log10(wave.square().mean() / (wave - back).square().mean())
    )
    assert 10 < rounding(model.spec, wave) < rounding(replace(model.spec, levels=256), wave) - 15
    again = compress_sound(model, back)
    assert again.content == kept.content
    with pytest.raises(DataError, match="a recording of any length; read it by `decompress_sound`"):
        decompress(model, kept.content)
    x = sound.split("test").first(2).x
    assert torch.equal(
        decompress_sound(model, compress(model, x).content)[:32], torch.from_numpy(sound.spec.decode(x)[0])
    )
    plain = create("wavenet", replace(sound.spec, levels=0), width=4, depth=1)
    with pytest.raises(Unsupported, match="only levels can be kept exactly"):
        compress_sound(plain, wave)


def test_the_verbs_pack_a_recording(sound, tmp_path, monkeypatch, capsys):
    import soundfile

    monkeypatch.chdir(tmp_path)
    model = create("wavenet", sound, width=4, depth=2, blocks=1)
    train(model, sound, steps=2, out="run", threads=1, progress=False)
    save_wave(tone(100), 500, tmp_path / "short.wav", {})
    save_wave(tone(100), 600, tmp_path / "fast.wav", {})
    assert call("compress", "run", "short.wav", "--out", "short.xnz") == 0
    assert "Rounded to the model's 16 levels" in capsys.readouterr().err
    assert call("decompress", "run", "short.xnz", "--out", "back.wav") == 0
    assert call("compress", "run", "back.wav", "--out", "again.xnz") == 0
    assert (tmp_path / "again.xnz").read_bytes() == (tmp_path / "short.xnz").read_bytes()
    back, rate = soundfile.read("back.wav")
    assert (len(back), rate) == (100, 500)
    assert np.abs(back - tone(100)).max() < 0.15
    capsys.readouterr()
    assert call("compress", "run", "fast.wav", "--out", "fast.xnz") == 2
    assert "at 600 samples a second; wavenet keeps one at 500" in " ".join(capsys.readouterr().err.split())


def call(*line: str) -> int:
    from exnihilo.cli.main import main

    with pytest.raises(SystemExit) as leaving:
        main(list(line))
    return int(leaving.value.code or 0)


def test_the_verbs_pack_and_unpack(gpt, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = create("gpt", words, width=8, depth=1)
    train(model, words, steps=2, out="run", threads=1, progress=False)
    (tmp_path / "letter.txt").write_bytes(b"alpha beta\n".replace(b"\n", b" ") * 5)
    capsys.readouterr()
    assert call("compress", "run", "letter.txt", "--out", "letter.xnz", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"]["this file"] == (tmp_path / "letter.xnz").stat().st_size
    assert call("decompress", "run", "letter.xnz", "--out", "back.txt") == 0
    assert (tmp_path / "back.txt").read_bytes() == (tmp_path / "letter.txt").read_bytes()
    assert call("compress", "run", "--out", "test.xnz") == 0
    assert "bits per character" in capsys.readouterr().out
    assert call("decompress", "run", "letter.txt", "--out", "x.txt") == 2
