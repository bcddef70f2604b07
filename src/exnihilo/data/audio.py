"""Sound: recordings cut into windows, as waveforms or as levels of the mu-law."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec
from exnihilo.data.arrays import finite_numbers
from exnihilo.data.audio_files import AUDIO_SUFFIXES, Recording, common_rate, look, read_wave
from exnihilo.data.dataset import Dataset, InMemory, assemble
from exnihilo.data.folders import choose_labels, find_files, folders_say
from exnihilo.data.labels import Labels, read_labels
from exnihilo.data.metadata import Metadata, read_metadata
from exnihilo.data.pictures import name_some
from exnihilo.data.splits import deal
from exnihilo.data.windows import Cutter, Windows, deal_recordings

PREFIX = re.compile(r"([^_\-]+)[_\-].+")
MOST_PREFIXES = 100

Rate = Annotated[int, 500, 400_000]
Window = Annotated[int, 2, 10_000_000]
Levels = Annotated[int, 2, 65_536]
Memory = Annotated[int, 1, 1_000_000]


def audio_file(
    path: Path,
    *,
    rate: Rate | None = None,
    window: Window | None = None,
    stride: Window | None = None,
    levels: Levels | None = None,
    memory: Memory = 2048,
) -> Dataset:
    """One recording (.wav .flac .ogg), cut into blocks in time for the splits; see `audio_folder`."""
    return _recordings(look([path], [path.name]), rate, window, stride, levels, memory, None, Metadata(), None, [])


def audio_folder(
    folder: Path,
    *,
    rate: Rate | None = None,
    window: Window | None = None,
    stride: Window | None = None,
    levels: Levels | None = None,
    label: str | None = "auto",
    memory: Memory = 2048,
) -> Dataset:
    """Recordings (.wav .flac .ogg), whole ones to each split where there are eight or more; channels are averaged.

    rate: samples a second that all are brought to; needed where theirs differ. window: samples an example; if not
    given, a power of two that nine of ten recordings hold, at most a second. stride: from one training window to the
    next; a window if not given. levels: values even under the mu-law, 256 as in WaveNet; without, waveforms. label:
    auto (metadata.csv, else the subfolder, else the names' beginning before _ or -), none, or a column of the
    metadata. memory: in MB; more is refused.
    """
    notes: list[str] = []
    names = find_files(folder, AUDIO_SUFFIXES, "recordings", 1, notes)
    own, classes = folders_say(names, "recordings", notes)
    metadata = read_metadata(folder, names, label, notes)
    labels = choose_labels(label, classes, metadata, notes)
    if labels is None and label is not None:
        labels = _prefixes(names, notes)
    recordings = look([folder / name for name in names], names)
    return _recordings(recordings, rate, window, stride, levels, memory, labels, metadata, own, notes)


def wave_dataset(x: Any, label: Any = None, *, rate: int, levels: int | None = None) -> Dataset:
    """Waveforms (N, T) in memory, in [-1, 1], each an example."""
    x = finite_numbers(x)
    notes: list[str] = []
    labels = None if label is None else read_labels(label, "The label", notes)
    part = deal([f"row {row}" for row in range(len(x))], labels and labels.values)
    spec = _spec(x.shape[1], rate, levels, labels)
    values = spec.encode(x)
    examples = InMemory(values if levels is None else _held(spec.to_levels(values), levels))
    return assemble(spec, examples, part, label=labels and labels.values, notes=notes)


def _recordings(
    recordings: list[Recording],
    rate: int | None,
    window: int | None,
    stride: int | None,
    levels: int | None,
    memory: int,
    labels: Labels | None,
    metadata: Metadata,
    own: Tensor | None,
    notes: list[str],
) -> Dataset:
    """The common end of both loaders."""
    rate = common_rate(recordings, rate, notes)
    names = [recording.name for recording in recordings]
    if mixed := [recording.name for recording in recordings if recording.channels > 1]:
        notes.append(f"The channels of {len(mixed)} recordings were averaged to one: {name_some(mixed)}.")
    seconds = sum(recording.frames / recording.rate for recording in recordings)
    if (needed := seconds * rate * (4 if levels is None else 1 if levels <= 256 else 4) / 1e6) > memory:
        raise DataError(
            f"{seconds / 3600:.1f} hours at {rate:,} samples a second take {needed:,.0f} MB, more than memory={memory}."
            " Use a lower -d rate=, -d levels=256 (a quarter), or a higher -d memory=."
        )
    waves = [_wave(recording, rate, levels) for recording in recordings]
    lengths = [len(wave) for wave in waves]
    window = window or _usual_window(lengths, rate)
    notes.append(
        f"{len(names)} recordings, {_time(seconds)}, {rate:,} samples a second; a window lasts {window / rate:.3g} s."
    )
    part = deal_recordings(names, labels and labels.values, own)
    cut = Cutter(window, stride or window, "recordings", "samples").cut(names, lengths, part, notes)
    spec = replace(_spec(window, rate, levels, labels), attributes=metadata.attributes.attributes)
    facts = metadata.attributes.values
    captions = [metadata.captions[number] for number in cut.recording.tolist()] if metadata.captions else ()
    return assemble(
        spec, Windows(torch.cat(waves)[None], cut.starts, window), cut.part,
        label=None if labels is None else labels.values[cut.recording],
        attributes=None if facts is None else facts[cut.recording],
        captions=captions, notes=notes,
    )  # fmt: skip


def _spec(window: int, rate: int, levels: int | None, labels: Labels | None) -> DataSpec:
    names = labels.names if labels else ()
    return DataSpec("audio", (1, window), levels or 0, len(names), names, rate=float(rate))


def _wave(recording: Recording, rate: int, levels: int | None) -> Tensor:
    """[T] the waveform, or its levels."""
    wave = read_wave(recording, rate)
    if levels is None:
        return wave
    spec = _spec(len(wave), rate, levels, None)
    return _held(spec.to_levels(spec.encode(wave[None])), levels)[0, 0]


def _held(index: Tensor, levels: int) -> Tensor:
    return index.to(torch.uint8 if levels <= 256 else torch.int32)


def _usual_window(lengths: Sequence[int], rate: int) -> int:
    """A power of two that nine of ten recordings hold, or one recording forty times; at most a second."""
    most = float(np.quantile(lengths, 0.1)) if len(lengths) > 1 else lengths[0] / 40
    return 1 << max(1, int(np.log2(max(2.0, min(most, rate)))))


def _prefixes(names: Sequence[str], notes: list[str]) -> Labels | None:
    """Classes from names such as 7_jackson_32.wav, where every name has a beginning and these repeat."""
    found = [PREFIX.fullmatch(Path(name).stem) for name in names]
    words = [match.group(1) for match in found if match]
    different = len(set(words))
    if len(words) < len(names) or not 2 <= different <= min(MOST_PREFIXES, len(names) // 4):
        return None
    labels = read_labels(words, "The names' beginnings", notes)
    notes.append(
        f"The beginning of a name is the class: {name_some(list(labels.names), 10)} (-d label=none ignores it)."
    )
    return labels


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
