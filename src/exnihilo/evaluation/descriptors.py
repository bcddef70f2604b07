"""Features that are computed, not learnt: of series, sounds and texts, by formulas that fit on a screen."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from exnihilo.core import DataSpec

PAIRED = 8  # channels whose correlations are looked at
BANDS, SPANS = 24, 4  # of the mel scale, and of time
FRAME = 0.032  # seconds of sound in a spectrum
QUIET = 1e-6  # power below which all is silence, a full-scale tone having about 0.1 of the frame's samples squared
GRAMS, BUCKETS = 4, 12  # lengths of token sequences, and numbers that each is hashed to

Describe = Callable[[DataSpec, Tensor], Tensor]


def describe_series(spec: DataSpec, x: Tensor) -> Tensor:
    """[B, D] of series [B, C, T]: for each channel mean, deviation, skewness and kurtosis, the kurtosis of its steps
    (which jumps raise), the autocorrelation at lags 1, 2, 4, ... below T / 2 and the log power in octaves of frequency;
    and the correlations of the first channels."""
    mean, deviation = x.mean(dim=2), x.std(dim=2, correction=0)
    z = (x - mean[:, :, None]) / (deviation[:, :, None] + 1e-3)
    steps = x.shape[2]
    lags = [1 << k for k in range(16) if 1 << k < max(2, steps / 2)]
    repeats = [(z[:, :, lag:] * z[:, :, : steps - lag]).mean(dim=2) for lag in lags]
    power = torch.fft.rfft(x - mean[:, :, None], dim=2).abs().square() / steps
    octaves = [power[:, :, 1 << k : 2 << k].mean(dim=2) for k in range(16) if 1 << k < power.shape[2]]
    loudness = [(octave + 1e-3).log() for octave in octaves]
    moves = x.diff(dim=2)
    moves = moves / (moves.std(dim=2, correction=0, keepdim=True) + 1e-3)
    moments = [mean, deviation, z.pow(3).mean(dim=2), z.pow(4).mean(dim=2), moves.pow(4).mean(dim=2)]
    some = z[:, :PAIRED]
    pairs = torch.triu_indices(some.shape[1], some.shape[1], 1)
    together = torch.einsum("bct,bdt->bcd", some, some)[:, pairs[0], pairs[1]] / steps
    return torch.cat([*moments, *repeats, *loudness, together], dim=1)


def describe_sound(spec: DataSpec, x: Tensor) -> Tensor:
    """[B, 120] of sounds: log power in 24 mel bands, averaged over each quarter of the time, and its deviation in time.

    Spectra of Hann windows of about 32 ms, half overlapping; triangular bands even on the mel scale, 2595 log10(1 + f /
    700), up to half the rate. Blind to phase, as the ear nearly is.
    """
    wave = torch.from_numpy(spec.decode(x)).float()
    length = min(wave.shape[1], 1 << max(4, round(math.log2(FRAME * spec.rate))))
    hop = max(1, length // 2)
    window = torch.hann_window(length)
    spectrum = torch.stft(wave, length, hop, window=window, center=False, return_complex=True)
    power = spectrum.abs().square() / length  # [B, frequencies, frames]
    bands = (torch.einsum("kf,bft->bkt", mel_bands(power.shape[1], spec.rate), power) + QUIET).log()
    return torch.cat([adaptive_avg_pool1d(bands, SPANS).flatten(1), bands.std(dim=2, correction=0)], dim=1)


def mel_bands(frequencies: int, rate: float) -> Tensor:
    """[24, frequencies] triangles that sum to one where bands overlap."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, BANDS + 2) / 2595) - 1)
    f = torch.linspace(0, rate / 2, frequencies)
    rising = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0)


def describe_text(spec: DataSpec, x: Tensor) -> Tensor:
    """[B, 48] of texts: how often sequences of 1 to 4 tokens occur, each length hashed with signs to 12 numbers.

    Weinberger et al., 2009, arXiv:0902.2206, Eq. 1. Few numbers, for each adds to the floor of a distance. Caution:
    blind to what only longer passages show, such as sense; a model of order 5 is as good as real text to it.
    """
    parts = []
    for size in range(1, GRAMS + 1):
        key = mixed(gram_keys(x, size) + size)
        sign = 1 - 2 * (key & 1).float()
        counts = x.new_zeros(len(x), BUCKETS, dtype=torch.float32)
        parts.append(counts.scatter_add_(1, (key >> 1 & 0x7FFFFFFF) % BUCKETS, sign) / math.sqrt(x.shape[1]))
    return torch.cat(parts, dim=1)


def gram_keys(ids: Tensor, size: int) -> Tensor:
    """[..., L - size + 1] a 64-bit number for every sequence of `size` tokens in ids [..., L], by Horner's rule."""
    count = max(0, ids.shape[-1] - size + 1)
    key = torch.zeros_like(ids[..., :count])
    for place in range(size):
        key = key * 6364136223846793005 + ids[..., place : place + count] + 1  # wraps around, as is wanted
    return key


def mixed(key: Tensor) -> Tensor:
    """64-bit numbers whose bits depend on all bits of `key`."""
    key = (key ^ (key >> 31 & 0x1FFFFFFFF)) * -4658895280553007687
    return key ^ (key >> 29 & 0x7FFFFFFFF)


#: By kind of data: the extractor's name and its formula.
FORMULAS: dict[str, tuple[str, Describe]] = {
    "series": ("series-statistics", describe_series),
    "audio": ("log-mel-spectrum", describe_sound),
    "text": ("hashed-ngrams", describe_text),
}
