"""Arrays in memory and in .npy and .npz files: pictures or vectors, with or without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch

from exnihilo.core import Column, DataError, DataSpec, listing
from exnihilo.data.dataset import Dataset, InMemory, assemble
from exnihilo.data.labels import read_labels
from exnihilo.data.splits import deal

ArrayKind = Literal["auto", "image", "vector"]
Channels = Literal["auto", "first", "last"]
PICTURE_KEYS = "-d kind=vector, or -d channels=first or last"


class Pictures(NamedTuple):
    """Integer levels [N, C, H, W], how many levels there are, and what was assumed in getting there."""

    levels_of: np.ndarray
    levels: int
    notes: list[str]


def array_dataset(
    x: Any,
    y: Any = None,
    *,
    kind: ArrayKind = "auto",
    channels: Channels = "auto",
    levels: Annotated[int, 2, 256] | None = None,
    own: np.ndarray | None = None,
    names: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Dataset:
    """Pictures (N, H, W), (N, H, W, C) or (N, C, H, W), or vectors (N, D); y the classes. own: the source's splits."""
    x = _numbers(x, "the array")
    if y is not None and len(y) != len(x):
        raise DataError(f"{len(x)} examples but {len(y)} labels: every example needs its own.")
    if _is_picture(x, kind):
        return image_dataset(x, y, channels=channels, levels=levels, own=own, class_names=names, notes=notes)
    said = list(notes)
    if x.ndim == 1:
        raise DataError(
            f"The array has shape {x.shape}: one number an example. Series follow later; vectors are (N, D)."
        )
    if x.ndim > 2:
        said.append(f"Each example of shape {x.shape[1:]} was flattened to {math.prod(x.shape[1:])} numbers.")
        x = x.reshape(len(x), -1)
    side = math.isqrt(x.shape[1])
    if kind == "auto" and side >= 5 and side * side == x.shape[1]:
        said.append(
            f"{x.shape[1]} numbers an example were taken as a vector; -d kind=image makes {side} x {side} pictures of them."
        )
    return vector_dataset(x, label=y, own=own, class_names=names, notes=said)


def _is_picture(x: np.ndarray, kind: ArrayKind) -> bool:
    if kind == "image" and x.ndim == 2 and math.isqrt(x.shape[1]) ** 2 != x.shape[1]:
        raise DataError(f"{x.shape[1]} numbers are no square picture; give an array (N, H, W) or (N, H, W, C).")
    if kind == "image" and x.ndim not in (2, 3, 4):
        raise DataError(f"An array of shape {x.shape} holds no pictures: (N, H, W), (N, H, W, C) or (N, C, H, W) do.")
    return kind == "image" or (kind == "auto" and x.ndim in (3, 4))


def _numbers(x: Any, what: str) -> np.ndarray:
    """A finite numeric array; the first bad entry is named."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().float().numpy() if x.dtype == torch.bfloat16 else x.detach().cpu().numpy()
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{what} holds {x.dtype} values; numbers are needed.")
    if x.size == 0 or x.ndim == 0:
        raise DataError(f"{what} of shape {x.shape} is empty.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        place = np.unravel_index(int((~np.isfinite(x)).argmax()), x.shape)
        where = listing(f"{word} {number}" for word, number in zip(("row", "column"), place, strict=False))
        rest = "" if len(place) < 3 else f" (entry {tuple(map(int, place))})"
        raise DataError(
            f"{what} holds {x[place]} at {where}{rest}, counted from 0. Arrays cannot have missing values: give a table"
            " (a DataFrame or a .csv), which can, or remove the rows."
        )
    return x


# -- vectors ---------------------------------------------------------------------------------------------------------


def vector_dataset(
    x: np.ndarray,
    *,
    label: Any = None,
    own: np.ndarray | None = None,
    names: Sequence[str] = (),
    class_names: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Dataset:
    """Vectors (N, D), standardised by column on the training split; arrays of two values only become 0 and 1."""
    labels = None if label is None else read_labels(label, "The label")
    part = deal(
        [f"row {row}" for row in range(len(x))],
        None if labels is None else labels.index,
        None if own is None else torch.from_numpy(own),
    )
    said = list(notes)
    names = list(names) or [f"x{place}" for place in range(x.shape[1])]
    values = np.unique(x)
    if len(values) == 1:
        raise DataError(f"All entries are {values[0]}: there is nothing to learn.")
    levels = 2 if len(values) == 2 else 0
    if levels:
        mean = np.full(x.shape[1], float(values[0]))
        scale = np.full(x.shape[1], float(values[1] - values[0]))
        if tuple(values) != (0, 1):
            said.append(f"The array holds two values only, {values[0]} and {values[1]}: they became 0 and 1.")
    else:
        training = x[part.numpy() == 0].astype(np.float64)
        mean, scale = training.mean(axis=0), training.std(axis=0)
        constant = np.ptp(training, axis=0) == 0
        if constant.any():
            said.append(f"Columns that never change: {listing(np.array(names)[constant])}.")
        scale[constant] = 1.0
    columns = tuple(
        Column(name, "number", place, mean=float(mean[place]), scale=float(scale[place]))
        for place, name in enumerate(names)
    )
    if levels and tuple(values) == (0, 1):
        columns = ()
    spec = DataSpec("vector", (x.shape[1],), levels, columns=columns)
    if labels is not None:
        spec = _with_classes(spec, labels.names, class_names)
    return assemble(
        spec, InMemory(spec.encode(x)), part, label=None if labels is None else labels.index, notes=said
    )


def _with_classes(spec: DataSpec, found: Sequence[str], wanted: Sequence[str]) -> DataSpec:
    from dataclasses import replace

    names = tuple(wanted) if len(wanted) == len(found) else tuple(found)
    return replace(spec, classes=len(names), class_names=names)


# -- pictures --------------------------------------------------------------------------------------------------------


def image_dataset(
    x: np.ndarray,
    label: Any = None,
    *,
    channels: Channels = "auto",
    levels: int | None = None,
    own: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Dataset:
    """Pictures in an array; see `array_dataset`."""
    placed, said = _channels_first(x, channels)
    raw, levels, scaling = to_levels(placed, levels)
    labels = None if label is None else read_labels(label, "The label")
    part = deal(
        [f"row {row}" for row in range(len(x))],
        None if labels is None else labels.index,
        None if own is None else torch.from_numpy(own),
    )
    spec = DataSpec("image", tuple(raw.shape[1:]), levels)
    if labels is not None:
        spec = _with_classes(spec, labels.names, class_names)
    return assemble(
        spec, InMemory(torch.from_numpy(raw)), part,
        label=None if labels is None else labels.index, notes=[*notes, *said, *scaling],
    )  # fmt: skip


def _channels_first(x: np.ndarray, channels: Channels) -> tuple[np.ndarray, list[str]]:
    """[N, C, H, W] with one or three channels; RGBA is laid on white."""
    if x.ndim == 2:
        side = math.isqrt(x.shape[1])
        return x.reshape(len(x), 1, side, side), []
    if x.ndim == 3:
        return x[:, None], [f"{len(x)} grey pictures of {x.shape[1]} x {x.shape[2]}; {PICTURE_KEYS} if they are not."]
    first, last = x.shape[1] in (1, 3, 4), x.shape[3] in (1, 3, 4)
    if channels == "auto" and not (first or last):
        raise DataError(f"In an array of shape {x.shape} no axis looks like 1, 3 or 4 channels. Use -d kind=vector.")
    on_first = channels == "first" or (channels == "auto" and first and not last)
    placed = x if on_first else np.moveaxis(x, 3, 1)
    notes = []
    if channels == "auto" and first and last:
        notes.append("The last axis was taken as the channels; -d channels=first takes the second.")
    if placed.shape[1] == 4:
        notes.append("Four channels were taken as red, green, blue and opacity, and laid on white.")
        placed = _on_white(placed)
    if placed.shape[1] not in (1, 3):
        raise DataError(f"Pictures have 1, 3 or 4 channels; here are {placed.shape[1]}. Use {PICTURE_KEYS}.")
    return placed, notes


def _on_white(x: np.ndarray) -> np.ndarray:
    """[N, 4, H, W] -> [N, 3, H, W]: colour * opacity + white * (1 - opacity)."""
    if x.dtype != np.uint8:
        raise DataError(f"Four channels of {x.dtype} values: opacity is understood in uint8 pictures only.")
    opacity = x[:, 3:].astype(np.uint16)
    return ((x[:, :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def to_levels(x: np.ndarray, levels: int | None) -> Pictures:
    """Integer levels 0 ... levels - 1 as uint8, from whole numbers of any range or from fractions in [0, 1] or [-1, 1]."""
    low, high = float(x.min()), float(x.max())
    whole = x.dtype.kind in "biu" or bool((x == np.round(x)).all())
    if low == high:
        raise DataError(f"All pixels are {low:g}: there is nothing to learn.")
    if whole and low >= 0 and high <= 255:
        guess = 2 if high == 1 else int(high) + 1 if high < 64 else 256
        if levels is not None and levels <= high:
            raise DataError(f"levels={levels} is not allowed: there are values up to {high:g}. Use {int(high) + 1} or more.")
        note = [f"Pixels run from {low:g} to {high:g}: {guess} levels were assumed; -d levels= changes it."]
        return Pictures(x.astype(np.uint8), levels or guess, note if levels is None and guess != 256 else [])
    if whole and 0 <= low and high <= 65535:
        top = 2 ** int(high).bit_length() - 1
        note = [f"Pixels up to {high:g} were taken as {int(high).bit_length()}-bit and reduced to 256 levels."]
        return Pictures(np.round(x / top * 255).astype(np.uint8), 256, note)
    if -1 <= low and high <= 1:
        start = -1.0 if low < 0 else 0.0
        levels = levels or 256
        raw = np.round((x - start) / (1 - start) * (levels - 1)).astype(np.uint8)
        return Pictures(raw, levels, [f"Fractions in [{start:g}, 1] were rounded to {levels} levels (-d levels=)."])
    raise DataError(
        f"Pixels run from {low:g} to {high:g}; whole numbers from 0 to 255 (or 65535) or fractions in [0, 1] or [-1, 1]"
        " are pictures. Use -d kind=vector for other numbers."
    )
