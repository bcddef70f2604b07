"""Arrays in memory: pictures or vectors, with or without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec
from exnihilo.data.dataset import Dataset, InMemory, assemble
from exnihilo.data.labels import read_labels
from exnihilo.data.series import Stride, Window, series_array
from exnihilo.data.splits import deal
from exnihilo.data.standard import number_columns

ArrayKind = Literal["auto", "image", "vector", "series"]
Channels = Literal["auto", "first", "last"]
Levels = Annotated[int, 2, 256]


def array_dataset(
    x: Any,
    y: Any = None,
    *,
    kind: ArrayKind = "auto",
    channels: Channels = "auto",
    levels: Levels | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
    own: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Pictures (N, H, W), (N, H, W, C) or (N, C, H, W), vectors (N, D), or with kind=series, window= or stride=
    series: (N, C, T), or one long one, (T,) or (T, C), with NaN where a value is missing.

    y [N]: classes by number or name (of one long series for every step). own [N]: the split that the source itself
    fixed, see `deal`. window: steps an example; stride: from one window to the next.
    """
    in_time = kind == "series" or (kind == "auto" and (window is not None or stride is not None))
    if not in_time and (window is not None or stride is not None):
        raise DataError(f"window= and stride= are for series, not for kind={kind}. Leave them or kind= out.")
    x = plain_numbers(x) if in_time else finite_numbers(x)
    if y is not None and len(y) != len(x):
        raise DataError(f"{len(x)} examples but {len(y)} labels: every example needs its own.")
    said = list(notes)
    if in_time:
        return series_array(x, y, window=window, stride=stride, own=own, notes=said)
    if _is_picture(x, kind):
        if kind == "auto":
            said.append(f"{len(x)} examples of shape {x.shape[1:]} were taken as pictures (-d kind=vector if not).")
        return image_dataset(x, y, channels=channels, levels=levels, own=own, notes=said)
    if x.ndim == 1:
        raise DataError(
            f"An array of shape {x.shape} has one number an example. Vectors are (N, D), D of 2"
            " or more; -d kind=series makes it one series in time."
        )
    if x.ndim > 2:
        said.append(f"Each example of shape {x.shape[1:]} was laid out as {math.prod(x.shape[1:])} numbers.")
        x = x.reshape(len(x), -1)
    side = math.isqrt(x.shape[1])
    if kind == "auto" and side >= 5 and side * side == x.shape[1]:
        said.append(
            f"{x.shape[1]} numbers an example were taken as a vector; -d kind=image makes {side} x {side} pictures."
        )
    return vector_dataset(x, label=y, own=own, notes=said)


def _is_picture(x: np.ndarray, kind: ArrayKind) -> bool:
    if kind == "image" and x.ndim == 2 and math.isqrt(x.shape[1]) ** 2 != x.shape[1]:
        raise DataError(f"{x.shape[1]} numbers are no square picture; give an array (N, H, W) or (N, H, W, C).")
    if kind == "image" and x.ndim not in (2, 3, 4):
        raise DataError(f"An array of shape {x.shape} holds no pictures: (N, H, W), (N, H, W, C) or (N, C, H, W) do.")
    return kind == "image" or (kind == "auto" and x.ndim in (3, 4))


def plain_numbers(x: Any) -> np.ndarray:
    """A numeric array that is not empty; other types are a DataError."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise DataError(
            f"The array holds values of type {x.dtype}; numbers are needed. Mixed columns go in a DataFrame."
        )
    if x.size == 0 or x.ndim == 0:
        raise DataError(f"The array of shape {x.shape} is empty.")
    return x


def finite_numbers(x: Any) -> np.ndarray:
    """A numeric array; the first entry that is no finite number is a DataError naming its place."""
    x = plain_numbers(x)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        place = tuple(int(number) for number in np.unravel_index(int((~np.isfinite(x)).argmax()), x.shape))
        where = f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"place {place}"
        raise DataError(
            f"The array holds {x[place]} in {where} (counted from 0). Arrays cannot have missing values; tables can"
            " (a DataFrame or a .csv), and so can series (-d kind=series). Or remove these rows."
        )
    return x


def _labels_and_part(
    n: int, label: Any, own: Tensor | None, notes: list[str]
) -> tuple[Tensor | None, tuple[str, ...], Tensor]:
    index, names = (None, ()) if label is None else read_labels(label, "The label", notes)
    return index, names, deal([f"row {row}" for row in range(n)], index, own)


# -- vectors ---------------------------------------------------------------------------------------------------------


def vector_dataset(
    x: np.ndarray,
    *,
    label: Any = None,
    own: Tensor | None = None,
    names: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Dataset:
    """Vectors (N, D), standardised by column on the training split; an array of two values only becomes 0 and 1."""
    said = list(notes)
    index, class_names, part = _labels_and_part(len(x), label, own, said)
    names = list(names) or [f"x{place}" for place in range(x.shape[1])]
    columns, levels = number_columns(x, part.numpy() == 0, names, said)
    spec = DataSpec("vector", (x.shape[1],), levels, len(class_names), class_names, columns=columns)
    return assemble(spec, InMemory(spec.encode(x)), part, label=index, notes=said)


# -- pictures --------------------------------------------------------------------------------------------------------


def image_dataset(
    x: np.ndarray,
    label: Any = None,
    *,
    channels: Channels = "auto",
    levels: int | None = None,
    own: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Pictures in an array, see `array_dataset`; kept as whole levels of one byte."""
    placed, about_channels = _channels_first(x, channels)
    raw, levels, about_levels = to_levels(placed, levels)
    said = [*notes, *about_channels, *about_levels]
    index, class_names, part = _labels_and_part(len(raw), label, own, said)
    spec = DataSpec("image", tuple(raw.shape[1:]), levels, len(class_names), class_names)
    return assemble(spec, InMemory(torch.from_numpy(raw)), part, label=index, notes=said)


def _channels_first(x: np.ndarray, channels: Channels) -> tuple[np.ndarray, list[str]]:
    """[N, C, H, W] with one or three channels, and what was assumed; RGBA is laid on white."""
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        return x.reshape(len(x), 1, side, side), []
    if x.ndim == 3:
        return x[:, None], []
    first, last = x.shape[1] in (1, 3, 4), x.shape[3] in (1, 3, 4)
    on_first = channels == "first" or (channels == "auto" and first and not last)
    placed = x if on_first else np.moveaxis(x, 3, 1)
    if placed.shape[1] not in (1, 3, 4):
        raise DataError(
            f"Pictures have 1, 3 or 4 channels; in an array of shape {x.shape} with channels={channels} there are"
            f" {placed.shape[1]}. Use -d channels=first, -d channels=last or -d kind=vector."
        )
    notes = []
    if channels == "auto" and first and last:
        notes.append("The last axis was taken as the channels (-d channels=first takes the second).")
    if placed.shape[1] == 4:
        notes.append("Four channels were taken as red, green, blue and opacity, and laid on white.")
        placed = _on_white(placed)
    return placed, notes


def _on_white(x: np.ndarray) -> np.ndarray:
    """[N, 4, H, W] -> [N, 3, H, W]: colour * opacity + white * (1 - opacity)."""
    if x.dtype != np.uint8:
        raise DataError(f"Four channels of {x.dtype} values: opacity is understood in uint8 pictures only.")
    opacity = x[:, 3:].astype(np.uint16)
    return ((x[:, :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def to_levels(x: np.ndarray, levels: int | None = None) -> tuple[np.ndarray, int, list[str]]:
    """Bytes 0 ... levels - 1, the number of levels and what was assumed.

    From whole numbers up to 65535, fractions in [0, 1] or [-1, 1], or two values of any size.
    """
    low, high = float(x.min()), float(x.max())
    if low == high:
        raise DataError(f"All pixels are {low:g}: there is nothing to learn.")
    if levels is None and bool(((x == low) | (x == high)).all()):
        return (
            (x == high).astype(np.uint8),
            2,
            [f"Pixels hold two values only, {low:g} and {high:g}: taken as 2 levels."],
        )
    whole = low >= 0 and (x.dtype.kind in "biu" or bool((x == np.round(x)).all()))
    if whole and high <= 255:
        if levels is not None and levels <= high:
            raise DataError(f"levels={levels} is not allowed: pixels go up to {high:g}. Use {int(high) + 1} or more.")
        guess = int(high) + 1 if high < 64 else 256
        note = [f"Pixels go up to {high:g}: taken as {guess} levels (-d levels= changes it)."]
        return x.astype(np.uint8), levels or guess, note if levels is None and guess != 256 else []
    if whole and high <= 65535:
        bits = int(high).bit_length()
        note = [f"Pixels go up to {high:g}: taken as {bits} bits and reduced to {levels or 256} levels."]
        return _spread(x / (2**bits - 1), levels or 256), levels or 256, note
    if low >= -1 and high <= 1:
        note = [f"Fractions from {low:g} to {high:g} were rounded to {levels or 256} levels (-d levels= changes it)."]
        return _spread((x + 1) / 2 if low < 0 else x, levels or 256), levels or 256, note
    raise DataError(
        f"Pixels go from {low:g} to {high:g}; pictures are whole numbers from 0 to 255 (or 65535) or fractions in"
        " [0, 1] or [-1, 1]. Use -d kind=vector for other numbers."
    )


def _spread(fraction: np.ndarray, levels: int) -> np.ndarray:
    return np.round(fraction * (levels - 1)).astype(np.uint8)
