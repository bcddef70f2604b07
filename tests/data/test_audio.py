"""Sound: files, rates, windows, the mu-law, and refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from exnihilo.core import DataError, DataSpec
from exnihilo.core.companding import compress, expand
from exnihilo.data import load_data

RANDOM = np.random.default_rng(0)


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def folder_of_tones(folder: Path, rate: int = 4000, count: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        for name, frequency in (("low", 200), ("high", 800)):
            soundfile.write(folder / f"{name}_{place}.wav", tone(frequency, 0.2 + 0.01 * place, rate), rate)
    return folder


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    data = load_data(folder_of_tones(tmp_path), window=256)
    assert (data.spec.kind, data.spec.shape, data.spec.rate, data.spec.levels) == ("audio", (1, 256), 4000, 0)
    assert data.spec.class_names == ("high", "low")  # the names' beginnings
    batch = data.first()
    assert batch.label is not None
    pitch = np.abs(np.fft.rfft(batch.x[:, 0].numpy())).argmax(axis=1) * 4000 / 256
    assert np.allclose(pitch, np.where(batch.label.numpy() == 0, 800, 200), atol=16)
    assert torch.equal(data.spec.encode(data.spec.decode(batch.x)), batch.x)
    assert len(data) == sum(int((0.2 + 0.01 * place) * 4000) // 256 for place in range(10)) * 2
    assert any("stand in no window" in note for note in data.notes)


def test_whole_recordings_go_to_one_split(tmp_path: Path) -> None:
    for place in range(16):
        soundfile.write(tmp_path / f"{place}.flac", np.full(1000, place / 20), 2000)
    data = load_data(tmp_path, window=100)
    seen = [
        set((data.split(name).first().x * 20).round().unique().tolist()) for name in ("train", "validation", "test")
    ]
    assert sum(map(len, seen)) == 16
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])


def test_one_long_recording_is_cut_into_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.linspace(-0.9, 0.9, 20_000), 1000, subtype="FLOAT")
    data = load_data(path, window=100, stride=50)
    train, validation, test = (data.split(name).first().x for name in ("train", "validation", "test"))
    step = 1.8 / 19_999
    assert (validation.min() - train.max()) / step >= 100
    assert (test.min() - validation.max()) / step >= 100
    assert torch.allclose(train[1:, 0, 0] - train[:-1, 0, 0], torch.tensor(50 * step), atol=1e-5)
    assert torch.allclose(test[1:, 0, 0] - test[:-1, 0, 0], torch.tensor(100 * step), atol=1e-5)


def test_resampling_keeps_the_pitch_and_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([tone(300, 1.0, 8000), -0.5 * tone(300, 1.0, 8000)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000)
    data = load_data(tmp_path / "a.wav", rate=3000, window=150)
    x = data.split("train").first().x[:, 0].numpy()[2:-2]
    spectrum = np.abs(np.fft.rfft(x, axis=1))
    assert (spectrum.argmax(axis=1) == 15).all()  # 300 Hz in steps of 20
    assert np.sqrt(np.square(x).mean()) == pytest.approx(0.125 / np.sqrt(2), rel=0.01)
    assert any("channels of 1 recordings were averaged" in note for note in data.notes)
    assert any("Resampled to 3,000" in note for note in data.notes)


def test_the_mu_law() -> None:
    wave = torch.linspace(-1, 1, 2001)
    assert torch.allclose(expand(compress(wave, 256), 256), wave, atol=1e-6)
    assert compress(torch.tensor(0.5), 256).item() == pytest.approx(np.log(128.5) / np.log(256), abs=1e-6)
    spec = DataSpec("audio", (1, 256), levels=256, rate=8000.0)
    every = spec.from_levels(torch.arange(256).view(1, 1, 256))
    assert torch.equal(spec.to_levels(spec.encode(spec.decode(every))), torch.arange(256).view(1, 1, 256))
    raw = RANDOM.uniform(-1, 1, (20, 256)).astype(np.float32)
    x = spec.encode(raw)
    assert set(((x + 1) * 127.5).round().unique().long().tolist()) <= set(range(256))
    error = np.abs(spec.decode(x) - raw)
    assert (error <= 0.011 + 0.011 * np.abs(raw)).all()
    assert error[np.abs(raw) < 0.01].max() < 3e-4  # soft sounds keep their shape


def test_levels_of_recordings(tmp_path: Path) -> None:
    folder_of_tones(tmp_path)
    waves, levels = load_data(tmp_path, window=256), load_data(tmp_path, window=256, levels=256)
    assert levels.spec.levels == 256
    assert levels.spec.discrete
    x = levels.first().x
    assert torch.equal(levels.spec.quantise(x), x)
    assert torch.equal(levels.spec.encode(waves.spec.decode(waves.first().x)), x)


def test_metadata_brings_labels(tmp_path: Path) -> None:
    folder_of_tones(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.wav"))
    rows = [f"{name},{'even' if place % 2 == 0 else 'odd'},{place}" for place, name in enumerate(names)]
    (tmp_path / "metadata.csv").write_text("file_name,label,loudness\n" + "\n".join(rows) + "\n")
    data = load_data(tmp_path, window=256)
    assert data.spec.class_names == ("even", "odd")
    assert [fact.name for fact in data.spec.attributes] == ["loudness"]
    assert data.attributes is not None
    assert len(data.attributes) == len(data)


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    folder_of_tones(tmp_path / "mixed")
    soundfile.write(tmp_path / "mixed" / "other_1.wav", tone(200, 0.3, 8000), 8000)
    with pytest.raises(DataError, match=r"high_0.wav has 4,000, other_1.wav has 8,000.*-d rate=4000"):
        load_data(tmp_path / "mixed")
    assert load_data(tmp_path / "mixed", rate=4000, window=256).spec.rate == 4000
    folder_of_tones(tmp_path / "bad")
    (tmp_path / "bad" / "low_3.wav").write_text("no sound")
    (tmp_path / "bad" / "low_5.wav").write_text("none either")
    with pytest.raises(DataError, match=r"low_3.wav cannot be read as sound.*Other files at fault: low_5.wav"):
        load_data(tmp_path / "bad")
    folder_of_tones(tmp_path / "short")
    for place in range(3):
        soundfile.write(tmp_path / "short" / f"low_9{place}.wav", tone(200, 0.05, 4000), 4000)
    notes = load_data(tmp_path / "short", window=512).notes
    assert any("left out: 3 of 23 (low_90.wav, low_91.wav, low_92.wav)" in note for note in notes)
    with pytest.raises(DataError, match=r"No window of 5,000 samples fits into recordings of at most 1,160"):
        load_data(tmp_path / "short", window=5000)
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 100)
    with pytest.raises(DataError, match="unknown rate: its header says 100 samples a second"):
        load_data(tmp_path / "slow.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 500), 4000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"not finite, sample 1 "):
        load_data(tmp_path / "nan.wav", window=10)
    soundfile.write(tmp_path / "long.wav", np.zeros(500_000), 4000)
    with pytest.raises(DataError, match="more than memory=1"):
        load_data(tmp_path / "long.wav", memory=1)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, RANDOM.uniform(-0.5, 0.5, 20_000), 4000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut.flac (is truncated|cannot be read)"):
        load_data(path, window=100)


def test_a_missing_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of_tones(tmp_path)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"pip install 'exnihilo\[audio\]'"):
        load_data(tmp_path)


def test_tones_have_their_pitch() -> None:
    data = load_data("tones", n=200, noise=0.0)
    assert (data.spec.shape, data.spec.rate, data.spec.classes) == ((1, 1024), 8000, 8)
    batch = data.first()
    assert batch.label is not None
    assert batch.x.abs().max() <= 1
    wave = batch.x[batch.label == data.spec.class_index("A4")][:, 0].numpy()
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(1024), n=16384, axis=1)).mean(axis=0)
    below = round(600 * 16384 / 8000)  # under the first overtone, 880 Hz
    assert spectrum[:below].argmax() * 8000 / 16384 == pytest.approx(440, abs=2)
    levels = load_data("tones", n=100, levels=64).first().x
    assert len(levels.unique()) <= 64
