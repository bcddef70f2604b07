"""Spoken digits for likelihood.py: recordings as WAV files, WaveNet's own digits, and who can tell which they are.

One sample of each class is written beside the results, spoken/CLASS.wav; spoken.png shows the spectrograms of one
real and one drawn recording of each class.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import RESULTS, Figures, shared_data, trained

import exnihilo as xn
from exnihilo.data.audio_files import save_wave
from exnihilo.data.dataset import Dataset
from exnihilo.evaluation.likelihood import log_likelihood
from exnihilo.evaluation.ngrams import NGram

FILES = 8000  # samples a second of the recordings
RATE, LENGTH = 4000, 2048  # of what is modelled: vowels and their glides are below 2 kHz; three of four are shorter
LEVELS = 256  # of the mu-law
EACH = 10  # samples of a class
HEARD = 64  # recordings whose likelihood is taken
COLDER = 0.8  # temperature of samples with less hiss


def recordings(folder: Path) -> None:
    """WAV files in a folder for every digit, cut or filled with silence to one length."""
    length = LENGTH * FILES // RATE
    file = np.load(shared_data("fsdd") / "fsdd_4speakers.npz")
    spans = pairwise(file["offsets"])
    for (first, end), digit, speaker, index in zip(spans, file["labels"], file["speakers"], file["index"], strict=True):
        wave = np.zeros(length, dtype=np.float32)
        said = file["samples"][first : min(end, first + length)] / 32768
        wave[: len(said)] = said / max(np.abs(said).max(), 1e-3) * 0.9
        (folder / str(digit)).mkdir(exist_ok=True)
        save_wave(wave, FILES, folder / str(digit) / f"{speaker}-{index}.wav", {})


def loaded() -> Dataset:
    """The recordings as WaveNet takes them: levels of the mu-law, classes by folder, whole recordings to a split."""
    with tempfile.TemporaryDirectory() as folder:
        recordings(Path(folder))
        return xn.load_data(folder, rate=RATE, window=LENGTH, levels=LEVELS)


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """[N, T] -> [N, 32, frames] logarithms of the energy in 32 bands, in windows of 32 ms."""
    from scipy.signal import stft

    power = np.abs(stft(wave, nperseg=128, noverlap=64)[2][:, 1:]) ** 2  # 64 frequencies
    return np.log(1e-7 + power.reshape(len(wave), 32, 2, -1).mean(axis=2))


def listener(data: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """A logistic regression on spectrograms of real recordings: waves [N, T] -> the classes it hears."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = data.split("train").first()
    assert train.label is not None
    solver = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    solver.fit(spectrogram(data.spec.decode(train.x)).reshape(len(train), -1), train.label.numpy())
    return lambda wave: np.asarray(solver.predict(spectrogram(wave).reshape(len(wave), -1)))


def show(real: np.ndarray, drawn: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """Spectrograms: a real recording of every class above one that was drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.4 * len(names), 4), layout="constrained")
    axes: Any = figure.subplots(2, len(names), sharex=True, sharey=True)
    for line, (about, waves) in enumerate((("real", real), ("drawn", drawn))):
        for place, picture in enumerate(spectrogram(waves)):
            shape = (0, LENGTH / RATE, 0, RATE / 2000)
            axes[line, place].imshow(picture, origin="lower", aspect="auto", extent=shape, vmin=-16, vmax=-4)
            axes[0, place].set_title(names[place])
        axes[line, 0].set_ylabel(f"{about}, kHz")
        axes[1, 0].set_xlabel("s")
    figure.savefig(path, dpi=100)


def spoken(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Bits per sample, and the share of drawn recordings that are heard as the digit that was asked for.

    name: a recipe, or 2-gram, which knows one sample back.
    """
    data = loaded()
    test = data.split("test").first()
    bit = data.spec.size * math.log(2)
    if name.endswith("-gram"):
        train, seen = (data.spec.to_levels(part.x)[:, 0] for part in (data.split("train").first(), test))
        row = NGram(data.spec, list(train), int(name.removesuffix("-gram")))
        return {"bits": -float(row.log_prob(seen).mean()) / bit}
    model = trained(name, data, seconds, seed)
    classes = torch.arange(data.spec.classes)
    asked = classes.repeat_interleave(EACH)
    x = model.sample(len(asked), seed=seed, label=asked)
    waves, hear = data.spec.decode(x), listener(data)
    folder = RESULTS / "spoken"
    folder.mkdir(parents=True, exist_ok=True)
    for name_of_class, wave in zip(data.spec.class_names, waves[::EACH], strict=True):
        save_wave(wave, RATE, folder / f"{name_of_class}.wav", {"model": name, "seconds": seconds, "seed": seed})
    assert test.label is not None
    label, real = test.label.numpy(), data.spec.decode(test.x)
    first = np.array([int((label == number).argmax()) for number in range(len(classes))])
    show(real[first], waves[::EACH], data.spec.class_names, RESULTS / "spoken.png")
    heard = test[:: max(1, len(test) // HEARD)]
    colder = data.spec.decode(model.sample(len(asked), seed=seed, label=asked, temperature=COLDER))
    return {
        "bits": -float(log_likelihood(model, heard)[0].mean()) / bit,
        "heard as asked": float((hear(waves) == asked.numpy()).mean()),
        f"at temperature {COLDER}": float((hear(colder) == asked.numpy()).mean()),
        "real heard right": float((hear(real) == label).mean()),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
