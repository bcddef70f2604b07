"""Features by formula: what they see of series, sounds and texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exnihilo.core import DataSpec
from exnihilo.data import load_data
from exnihilo.data.texts import text_dataset
from exnihilo.evaluation.descriptors import BANDS, describe_series, describe_sound, describe_text, gram_keys, mel_bands
from exnihilo.evaluation.distances import frechet
from exnihilo.evaluation.extractors import choose_extractor
from exnihilo.evaluation.statistics import Gaussian


def test_moments_repetition_and_spectrum_of_a_wave():
    time = torch.arange(64.0)
    wave = (1 + 2 * torch.sin(2 * math.pi * time / 8)).view(1, 1, 64)
    both = torch.cat([wave, -wave], dim=1)
    features = describe_series(DataSpec("series", (2, 64)), both)[0]
    mean, deviation, skewness, kurtosis = (features[2 * k : 2 * k + 2] for k in range(4))
    assert mean.tolist() == pytest.approx([1, -1], abs=1e-5)
    assert deviation.tolist() == pytest.approx([math.sqrt(2)] * 2, rel=1e-5)
    assert skewness.abs().max() < 1e-3
    assert kurtosis.tolist() == pytest.approx([1.5, 1.5], rel=0.01)
    repeats = features[10:20].view(5, 2)[:, 0]  # lags 1, 2, 4, 8, 16
    assert repeats.tolist() == pytest.approx([math.cos(2 * math.pi * lag / 8) for lag in (1, 2, 4, 8, 16)], abs=0.02)
    loudness = features[20:32].view(6, 2)[:, 0]  # octaves from 1, 2, 4, 8, 16 and 32 cycles on
    assert loudness.argmax() == 3
    assert features[-1] == pytest.approx(-1, abs=0.01)


def test_a_tone_sounds_in_its_mel_band():
    rate, length = 8000, 4096
    spec = DataSpec("audio", (1, length), rate=float(rate))
    weights = mel_bands(129, rate)
    assert weights.shape == (BANDS, 129)
    inner = weights.sum(dim=0)[6:-12]
    assert inner.min() > 0.7
    assert inner.max() < 1.01
    for frequency in (300.0, 1000.0, 2500.0):
        tone = 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(length) / rate)
        late = torch.cat([torch.zeros(length // 2), tone[: length // 2]])
        features = describe_sound(spec, torch.stack([tone, late])[:, None])
        bands = features[:, : 4 * BANDS].view(2, BANDS, 4)
        expected = weights[:, round(frequency / (rate / 2) * 128)].argmax()
        assert bands[0].mean(dim=1).argmax() == expected
        assert bands[1, expected, 3] > bands[1, expected, 0] + 5  # it begins late
    shifted = describe_sound(spec, torch.roll(tone, 700)[None, None])
    assert (shifted - features[:1]).abs().max() < 0.5


def test_token_sequences_are_hashed_by_what_they_are():
    ids = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 0, 1, 2, 0, 1]])
    assert gram_keys(ids, 3).shape == (2, 4)
    assert gram_keys(ids, 3)[0, 0] == gram_keys(ids, 3)[0, 3] == gram_keys(ids, 3)[1, 1]
    assert len(gram_keys(torch.arange(1000).view(1, -1), 2).unique()) == 999
    assert gram_keys(ids, 7).shape == (2, 0)
    features = describe_text(DataSpec("text", (6,), 3), ids)
    assert features[:, :12].sum(dim=1).tolist() == pytest.approx(features[:, :12].sum(dim=1).flip(0).tolist())
    assert features.abs().sum() > 0


@pytest.mark.parametrize("kind", ["series", "audio", "text"])
def test_the_floor_is_small_and_what_is_no_data_is_far(kind):
    if kind == "text":
        rng = np.random.default_rng(0)
        words = " ".join(rng.choice(["sun", "moon", "and", "the", "stars"], size=12_000)).encode()
        data = text_dataset({"words": words}, window=64)
        shuffled = data.first(200).x.flatten()
        fake = shuffled[torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(0))].view(200, 64)
    else:
        data = load_data("sines" if kind == "series" else "tones", n=600)
        fake = data.split("train").first(200).x
        fake = fake.std() * torch.randn(fake.shape, generator=torch.Generator().manual_seed(0))
        fake = fake.clamp(-1, 1) if kind == "audio" else fake
    extractor = choose_extractor(data)
    again = choose_extractor(data)
    test = data.split("test").first(200).x
    assert extractor.hash == again.hash
    assert torch.equal(extractor.features(test), again.features(test))
    assert extractor.features(test).shape == (len(test), extractor.dim)
    real = Gaussian.of(extractor.features(test))
    floor = frechet(Gaussian.of(extractor.features(data.split("train").first(200).x)), real)
    assert frechet(Gaussian.of(extractor.features(fake)), real) > 8 * floor
