"""Series in time: arrays, and tables whose rows follow each other, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec
from exnihilo.data.dataset import Dataset, assemble
from exnihilo.data.labels import read_labels
from exnihilo.data.splits import deal
from exnihilo.data.standard import number_columns
from exnihilo.data.windows import Cut, Cutter, Windows, deal_recordings

Window = Annotated[int, 2, 100_000]
Stride = Annotated[int, 1, 100_000]

USUAL_WINDOW, FEWEST_WINDOWS = 64, 12  # steps, and windows without overlap that a long series should have


def series_array(
    x: np.ndarray,
    label: Any = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    own: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """N series (N, C, T), each an example or cut into windows, or one long one, (T,) or (T, C). NaN = missing.

    label [N]: a class for every series; of one long series [T]: for every step.
    """
    said = list(notes)
    if x.ndim == 3:
        names = [f"x{place}" for place in range(x.shape[1])]
        stream = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        return _assembled(stream, len(x), names, label, window, stride, own, said)
    if own is not None:
        raise DataError("Arrays with splits of their own are read as series where they are (N, C, T); name one by x=.")
    if x.ndim > 2:
        raise DataError(f"An array of shape {x.shape} holds no series: (N, C, T), (T, C) or (T,) do.")
    x = x[:, None] if x.ndim == 1 else x
    if x.shape[1] > x.shape[0]:
        raise DataError(
            f"An array of shape {x.shape} would be one series of {x.shape[0]} steps and {x.shape[1]} channels. N series"
            " of one channel are (N, 1, T); reshape it."
        )
    said.append(f"One series of {x.shape[0]:,} steps and {x.shape[1]} channels (N series are (N, C, T)).")
    return _assembled(x.T, 1, [f"x{place}" for place in range(x.shape[1])], label, window, stride, None, said)


def series_of_channels(
    x: np.ndarray, names: Sequence[str], label: Any, window: int | None, stride: int | None, notes: list[str]
) -> Dataset:
    """One long series [C, T] whose channels have names; label [T]: the class of every step, or None."""
    return _assembled(x, 1, names, label, window, stride, None, notes)


def _assembled(
    stream: np.ndarray,
    count: int,
    names: Sequence[str],
    label: Any,
    window: int | None,
    stride: int | None,
    own: Tensor | None,
    notes: list[str],
) -> Dataset:
    """`count` series of one length laid end to end [C, count * T]."""
    length = stream.shape[1] // count
    stream = stream.astype(np.float64)
    labels = None if label is None else read_labels(label, "The label", notes)
    if labels is not None and len(labels.values) not in (count, stream.shape[1]):
        raise DataError(f"{count} series of {length} steps, but {len(labels.values)} labels: one a series, or a step.")
    each = None if labels is None or len(labels.values) != count else labels.values
    window = window or (length if count > 1 else _usual_window(length))
    observed = ~np.isnan(stream)
    _check(stream, observed, length, window, names)
    cut = _cut(count, length, window, stride, each, own, notes)
    training = np.zeros(stream.shape[1], dtype=bool)
    for start in cut.starts[cut.part == 0].tolist():
        training[start : start + window] = True
    columns, levels = number_columns(stream.T, training, names, notes)
    classes = () if labels is None else labels.names
    spec = DataSpec("series", (len(names), window), levels, len(classes), classes, columns=columns)
    if not observed.all():
        notes.append(
            f"{(~observed).sum():,} values are missing: drawn as straight lines between their neighbours, and marked in"
            " the mask."
        )
        _bridge(stream, observed, length)
    whole = DataSpec("series", stream.shape, levels, columns=columns)
    x = spec.quantise(whole.encode(stream[None])[0])
    mask = None if observed.all() else Windows(torch.from_numpy(observed), cut.starts, window)
    return assemble(
        spec, Windows(x, cut.starts, window), cut.part,
        label=None if labels is None else _window_labels(labels.values, each, cut, window, notes),
        mask=None if mask is None else mask.read(torch.arange(len(mask))),
        notes=notes,
    )  # fmt: skip


def _usual_window(length: int) -> int:
    """64 steps, or the power of two of which a shorter series has a dozen."""
    return min(USUAL_WINDOW, 1 << max(2, int(np.log2(max(4.0, length / FEWEST_WINDOWS)))))


def _cut(
    count: int,
    length: int,
    window: int,
    stride: int | None,
    label: Tensor | None,
    own: Tensor | None,
    notes: list[str],
) -> Cut:
    """Whole series as they are, or windows of them."""
    names = [f"row {row}" for row in range(count)]
    if window == length and count > 1:
        return Cut(torch.arange(count) * length, deal(names, label, own), torch.arange(count))
    cutter = Cutter(window, stride or max(1, window // 8), "series", "steps", apart=False)
    if cutter.stride < window:
        notes.append("Windows overlap in every split, so figures are less certain than their intervals say.")
    return cutter.cut(names, [length] * count, deal_recordings(names, label, own), notes)


def _check(stream: np.ndarray, observed: np.ndarray, length: int, window: int, names: Sequence[str]) -> None:
    """No infinite number, and nowhere a window or more missing in a row."""
    for name, values, known in zip(names, stream, observed, strict=True):
        if np.isinf(values).any():
            raise DataError(f"{_place(int(np.isinf(values).argmax()), length, stream, name)}: not a finite number.")
        for start in range(0, stream.shape[1], length):
            here = np.concatenate([[True], known[start : start + length], [True]])
            edges = np.flatnonzero(here)
            runs = np.diff(edges) - 1
            if runs.max() >= window:
                first = int(edges[runs.argmax()]) + start
                raise DataError(
                    f"{_place(first, length, stream, name)}: {runs.max()} values in a row are missing from here on, a"
                    f" whole window of {window} steps or more. Cut the series there, leave the channel out, or ask for"
                    f" longer windows, such as -d window={2 * int(runs.max())}."
                )


def _place(step: int, length: int, stream: np.ndarray, name: str) -> str:
    """Where a step of the joined series lies, in words."""
    row = f"row {step}" if length == stream.shape[1] else f"series {step // length}, step {step % length}"
    return f"Channel {name!r}, {row} (counted from 0)"


def _bridge(stream: np.ndarray, observed: np.ndarray, length: int) -> None:
    """Fill gaps, in place, by straight lines; at the ends by the nearest value."""
    steps = np.arange(length)
    for start in range(0, stream.shape[1], length):
        for values, known in zip(stream[:, start : start + length], observed[:, start : start + length], strict=True):
            values[~known] = np.interp(steps[~known], steps[known], values[known])


def _window_labels(values: Tensor, each: Tensor | None, cut: Cut, window: int, notes: list[str]) -> Tensor:
    """Of every window: its series' class, or the one that all its steps share, else unknown."""
    if each is not None:
        return each[cut.recording]
    steps = Windows(values, cut.starts, window).read(torch.arange(len(cut.starts)))
    same = (steps == steps[:, :1]).all(dim=1)
    if not same.all():
        notes.append(f"{int((~same).sum()):,} windows span several classes: theirs is unknown.")
    return torch.where(same, steps[:, 0], -1)
