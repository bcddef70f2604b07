"""Sound in files: what their headers say, and their samples at one rate and in one channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, listing
from exnihilo.data.pictures import name_some

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
SLOWEST, FASTEST = 500, 400_000  # samples a second that a header can mean in earnest


class Recording(NamedTuple):
    """What the header of a file says."""

    path: Path
    name: str
    rate: int
    channels: int
    frames: int


def soundfile() -> Any:
    """The library that reads and writes sound, from the `audio` extra."""
    try:
        import soundfile as library
    except ImportError:
        raise DataError("Sound needs the audio extra: pip install 'exnihilo[audio]'.") from None
    return library


def look(paths: Sequence[Path], names: Sequence[str]) -> list[Recording]:
    """The headers; files that cannot be read, are empty or name no sensible rate are a DataError naming all of them."""
    library = soundfile()
    found: list[Recording] = []
    bad: list[tuple[str, str]] = []
    for path, name in zip(paths, names, strict=True):
        try:
            about = library.info(str(path))
        except (library.LibsndfileError, RuntimeError) as reason:
            bad.append((name, f"cannot be read as sound: {str(reason).rpartition(': ')[2]}"))
            continue
        if not SLOWEST <= about.samplerate <= FASTEST:
            bad.append((name, f"has an unknown rate: its header says {about.samplerate} samples a second"))
        elif about.frames == 0:
            bad.append((name, "is empty"))
        else:
            found.append(Recording(path, name, about.samplerate, about.channels, about.frames))
    if bad:
        rest = f" Other files at fault: {name_some([name for name, _ in bad[1:]])}." if len(bad) > 1 else ""
        raise DataError(f"{bad[0][0]} {bad[0][1]}. Repair or remove it.{rest}")
    return found


def common_rate(recordings: Sequence[Recording], asked: int | None, notes: list[str]) -> int:
    """The rate asked for, or that of all files; mixed ones are a DataError naming two."""
    first: dict[int, str] = {}
    for recording in recordings:
        first.setdefault(recording.rate, recording.name)
    if asked is None and len(first) > 1:
        pairs = [f"{name} has {rate:,}" for rate, name in list(first.items())[:2]]
        raise DataError(
            f"The recordings have different rates: {listing(pairs)} samples a second. Bring all to one with"
            f" -d rate={min(first)}."
        )
    rate = asked or next(iter(first))
    if others := sorted(set(first) - {rate}):
        notes.append(f"Resampled to {rate:,} samples a second from {listing(f'{other:,}' for other in others)}.")
    return rate


def read_wave(recording: Recording, rate: int) -> Tensor:
    """[T] float32 in [-1, 1]: channels averaged, resampled (polyphase, with its anti-aliasing filter), clipped."""
    library = soundfile()
    try:
        samples, _ = library.read(str(recording.path), dtype="float32", always_2d=True)
    except (library.LibsndfileError, RuntimeError) as reason:
        raise DataError(f"{recording.name} cannot be read: {str(reason).rpartition(': ')[2]}") from None
    if len(samples) != recording.frames:
        raise DataError(f"{recording.name} is truncated: {len(samples):,} of {recording.frames:,} samples are there.")
    if not np.isfinite(samples).all():
        place = int((~np.isfinite(samples)).any(axis=1).argmax())
        raise DataError(f"{recording.name} holds a value that is not finite, sample {place} (counted from 0).")
    wave = samples.mean(axis=1)
    if recording.rate != rate:
        from scipy.signal import resample_poly

        divisor = math.gcd(rate, recording.rate)
        wave = resample_poly(wave, rate // divisor, recording.rate // divisor)
    return torch.from_numpy(np.clip(wave, -1, 1).astype(np.float32))


def save_wave(wave: np.ndarray, rate: float, path: Path, metadata: Mapping[str, object]) -> None:
    """Samples [T] in [-1, 1] as 16 bits; the metadata, one `name=value` a line, as the file's comment."""
    with soundfile().SoundFile(str(path), "w", samplerate=round(rate), channels=1, subtype="PCM_16") as file:
        file.software = "exnihilo"
        if metadata:  # an empty comment is refused
            file.comment = "\n".join(f"{name}={value}" for name, value in metadata.items())
        file.write(np.clip(wave, -1, 1))
