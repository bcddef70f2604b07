"""Series and sounds with known answers; each a pure function of its options."""

from __future__ import annotations

import math

import numpy as np

from exnihilo.data.audio import Levels, wave_dataset
from exnihilo.data.dataset import Dataset
from exnihilo.data.series import series_array
from exnihilo.data.toy import Count, Spread

STEPS = 64
RATE, SAMPLES = 8000, 1024  # of a tone: 0.128 s
SCALE = {"C4": -9, "D4": -7, "E4": -5, "F4": -4, "G4": -2, "A4": 0, "B4": 2, "C5": 3}  # semitones from 440 Hz
HARMONICS = 6


def sines(*, n: Count = 5000, noise: Spread = 0.05, seed: int = 0) -> Dataset:
    """Sine waves of 64 steps with random phase, 1 to 6 periods, amplitude 0.5 to 1.5, and Gaussian `noise`.

    The toy of TimeGAN (Yoon et al., 2019, NeurIPS, Section 5.1) in one channel; three numbers explain an example.
    """
    random = np.random.default_rng(seed)
    phase, periods = random.uniform(0, 2 * math.pi, (n, 1)), random.uniform(1, 6, (n, 1))
    amplitude = random.uniform(0.5, 1.5, (n, 1))
    wave = amplitude * np.sin(2 * math.pi * periods * np.arange(STEPS) / STEPS + phase)
    return series_array((wave + noise * random.standard_normal((n, STEPS)))[:, None])


def tones(*, n: Count = 2000, noise: Spread = 0.005, levels: Levels | None = None, seed: int = 0) -> Dataset:
    """Plucked tones of 0.128 s at 8 kHz, C4 to C5 of the major scale as classes, with six fading harmonics.

    Harmonic k has the amplitude u_k / k, u_k uniform, and fades the sooner the higher it is; phases are random.
    levels: values even under the mu-law; without, waveforms.
    """
    random = np.random.default_rng(seed)
    names = list(SCALE)
    pitch = random.integers(len(names), size=n)
    frequency = 440 * 2 ** (np.array(list(SCALE.values()))[pitch] / 12)
    number = np.arange(1, HARMONICS + 1)[:, None]
    time = np.arange(SAMPLES) / RATE
    fading = np.exp(-time * random.uniform(5, 15, (n, 1, 1)) * np.sqrt(number))
    strength = random.uniform(0.2, 1, (n, HARMONICS, 1)) / number
    phase = random.uniform(0, 2 * math.pi, (n, HARMONICS, 1))
    waves = (strength * fading * np.sin(2 * math.pi * frequency[:, None, None] * number * time + phase)).sum(axis=1)
    waves *= random.uniform(0.4, 0.8, (n, 1)) / np.abs(waves).max(axis=1, keepdims=True)
    waves += noise * random.standard_normal(waves.shape)
    return wave_dataset(waves.clip(-1, 1), np.array(names)[pitch], rate=RATE, levels=levels)
