"""Arrays in files: .npy, .npz, and the idx files of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.data.arrays import ArrayKind, Channels, Levels, array_dataset, image_dataset
from exnihilo.data.beside import with_given
from exnihilo.data.dataset import Dataset
from exnihilo.data.series import Stride, Window
from exnihilo.data.splits import PARTS, SPLIT_WORDS

X_NAMES = ("x", "data", "images", "image", "features", "arr_0")
Y_NAMES = ("y", "label", "labels", "target", "targets", "class", "classes")
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def npy_array(
    path: Path,
    *,
    kind: ArrayKind = "auto",
    channels: Channels = "auto",
    levels: Levels | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
) -> Dataset:
    """One array of pictures, vectors or series."""
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as reason:
        if "allow_pickle" in str(reason):
            reason = ValueError("it holds Python objects (which could run code) or is damaged; save plain numbers")
        raise DataError(f"{path} cannot be read as an array: {reason}.") from None
    return array_dataset(x, kind=kind, channels=channels, levels=levels, window=window, stride=stride)


def npz_arrays(
    path: Path,
    *,
    x: str | None = None,
    label: str | None = "auto",
    given: str | None = "auto",
    kind: ArrayKind = "auto",
    channels: Channels = "auto",
    levels: Levels | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
) -> Dataset:
    """Named arrays: the examples (x, data, images or as x= says) and their classes (y, labels or as label= says).

    Names with train, test or validation in them (x_train, y_test) bring their own splits. An array named given (or as
    given= says) is what the examples are conditioned on.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as reason:
        raise DataError(f"{path} cannot be read as .npz: {reason}") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} is no .npz archive.")
    notes: list[str] = []
    with archive:
        arrays = NamedArrays(str(path), archive)
        chosen = arrays.examples(x, notes)
        shapes = {arrays[name].shape[1:] for name in chosen}
        if len(shapes) > 1:
            raise DataError(f"{path}: the examples in {listing(chosen)} have different shapes: {listing(shapes)}.")
        values = np.concatenate([arrays[name] for name in chosen])
        y = None if label is None else arrays.labels(label, chosen, notes)
        beside = None if given is None else arrays.given(given, chosen)
        own = None if split_of(chosen[0]) is None else _own([(split_of(name), len(arrays[name])) for name in chosen])
    data = array_dataset(
        values, y, kind=kind, channels=channels, levels=levels, window=window, stride=stride, own=own, notes=notes
    )
    return data if beside is None else with_given(data, beside)


def split_of(name: str) -> int | None:
    """Which split an array's name speaks of: `x_train` 0, `test_images` 2, `x` None."""
    return next((SPLIT_WORDS[word] for word in name.lower().split("_") if word in SPLIT_WORDS), None)


def base_of(name: str) -> str:
    """The name without the word for its split: `x_train` -> x, `train` -> nothing."""
    return "_".join(word for word in name.lower().split("_") if word not in SPLIT_WORDS)


def _own(sizes: Sequence[tuple[int | None, int]]) -> Tensor:
    """[N] the splits of parts laid end to end."""
    return torch.cat([torch.full((size,), part or 0) for part, size in sizes])


class NamedArrays:
    """The arrays of one archive, and what their names mean."""

    def __init__(self, path: str, archive: Any):
        self.path, self.archive = path, archive
        self.names: list[str] = list(archive.files)

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self.archive[name]  # type: ignore[no-any-return]
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as reason:
            raise DataError(f"{self.path}: array {name!r} cannot be read: {reason}") from None

    def examples(self, wanted: str | None, notes: list[str]) -> list[str]:
        """The names of the examples: one, or one per split."""
        if wanted is not None:
            return self._group(wanted) or self._unknown("x", wanted)
        for base in ("", *X_NAMES):
            if group := self._group(base):
                if split_of(group[0]) is not None:
                    notes.append(f"The arrays {listing(group)} bring their own splits.")
                return group
        others = (*Y_NAMES, "given")
        plain = [name for name in self.names if base_of(name) not in others and self._looks_like_examples(name)]
        if len(plain) != 1:
            raise DataError(
                f"{self.path} holds the arrays {listing(self.names)}. Say which are the examples with -d x=NAME."
            )
        notes.append(f"Array {plain[0]!r} was taken as the examples (-d x=NAME changes it).")
        return plain

    def labels(self, wanted: str, chosen: list[str], notes: list[str]) -> np.ndarray | None:
        """The classes that go with the chosen examples; None where there are none."""
        bases = Y_NAMES if wanted == "auto" else (wanted.lower(),)
        for base in bases:
            group = self._group(base, splits=[split_of(name) for name in chosen])
            if group:
                y = np.concatenate([self[name] for name in group])
                if y.ndim == 2 and y.shape[1] == 1:
                    y = y[:, 0]
                if y.ndim != 1:
                    raise DataError(f"{self.path}: labels {listing(group)} of shape {y.shape} are not one per example.")
                notes.append(f"The class is {listing(group)} (-d label=NAME changes it, or none).")
                return y
        return None if wanted == "auto" else self._unknown("label", wanted)  # type: ignore[return-value]

    def given(self, wanted: str, chosen: list[str]) -> np.ndarray | None:
        """What goes with the chosen examples as their condition; None where there is nothing."""
        base = "given" if wanted == "auto" else wanted.lower()
        group = self._group(base, splits=[split_of(name) for name in chosen])
        if group:
            return np.concatenate([self[name] for name in group])
        return None if wanted == "auto" else self._unknown("given", wanted)  # type: ignore[return-value]

    def _group(self, base: str, splits: Sequence[int | None] | None = None) -> list[str]:
        """The arrays of this name: the one without a split, or those of all splits (the ones given) in their order."""
        same = {split_of(name): name for name in self.names if base in (base_of(name), name.lower(), name)}
        if splits is None:
            splits = [None] if None in same else [part for part in range(len(PARTS)) if part in same]
        found = [same[part] for part in splits if part in same]
        return found if len(found) == len(splits) else []

    def _looks_like_examples(self, name: str) -> bool:
        try:
            array = self.archive[name]
        except ValueError:  # Python objects, which are not read
            return False
        return array.dtype.kind in "biuf" and array.ndim >= 2

    def _unknown(self, option: str, wanted: str) -> list[str]:
        hint = did_you_mean(wanted, self.names)
        raise DataError(f"{option}={wanted}: there is no such array.{hint} {self.path} holds: {listing(self.names)}.")


# -- idx -------------------------------------------------------------------------------------------------------------


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file, also gzipped: two zero bytes, type, number of axes, sizes, values, all big-endian."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as reason:
        raise DataError(f"{path} cannot be read: {reason}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise DataError(f"{path} is no idx file: its first four bytes are {content[:4].hex(' ')}.")
    kind, axes = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if not shape or len(content) != start + math.prod(shape) * kind.itemsize:
        raise DataError(f"{path} is truncated or altered: its header speaks of {shape}, it has {len(content)} bytes.")
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def is_idx(path: Path) -> bool:
    """Whether a file name is that of an idx file."""
    return re.fullmatch(r".*ubyte(\.gz)?", path.name) is not None


def idx_files(path: Path, *, label: Literal["auto"] | None = "auto", levels: Levels | None = None) -> Dataset:
    """Pictures of one idx file, or of a folder with train-images..., t10k-images... and their labels.

    The published test split is kept; a tenth of the training pictures becomes validation.
    """
    images = (
        sorted(file for file in path.iterdir() if is_idx(file) and "images" in file.name) if path.is_dir() else [path]
    )
    if not images:
        raise DataError(f"{path} holds idx files, but none with 'images' in its name.")
    values, labels, sizes = [], [], []
    for file in images:
        pictures = read_idx(file)
        if pictures.ndim != 3:
            raise DataError(f"{file} holds an array of shape {pictures.shape}; pictures are (N, H, W).")
        test = file.name.startswith(("t10k", "test")) and len(images) > 1
        sizes.append((2 if test else 0, len(pictures)))
        values.append(pictures)
        if label == "auto" and (beside := _idx_labels(file)):
            labels.append(read_idx(beside))
            if len(labels[-1]) != len(pictures):
                raise DataError(f"{file.name} holds {len(pictures)} pictures, {beside.name} {len(labels[-1])} labels.")
    if labels and len(labels) != len(values):
        raise DataError(f"Some of {listing(file.name for file in images)} have labels beside them and some have not.")
    notes = [f"Read {listing(file.name for file in images)}{' and their labels' if labels else ''}."]
    own = _own(sizes) if len({part for part, _ in sizes}) > 1 else None
    y = np.concatenate(labels) if labels else None
    return image_dataset(np.concatenate(values), y, levels=levels, own=own, notes=notes)


def _idx_labels(images: Path) -> Path | None:
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = (images.with_name(stem + suffix) for suffix in ("", ".gz"))
    return next((path for path in found if path != images and path.is_file()), None)


# -- CIFAR-10 --------------------------------------------------------------------------------------------------------

CIFAR_RECORD = 1 + 3 * 32 * 32  # a class, then 32 x 32 bytes of red, of green, of blue


def is_cifar(path: Path) -> bool:
    """Whether a file name is that of a batch of CIFAR-10's binary version."""
    return re.fullmatch(r"(data_batch_\d|test_batch)\.bin", path.name) is not None


def cifar_files(folder: Path, *, label: Literal["auto"] | None = "auto") -> Dataset:
    """A folder with data_batch_1.bin ... test_batch.bin of CIFAR-10, and the class names in batches.meta.txt.

    The published test split is kept; a tenth of the training pictures becomes validation.
    """
    values, labels, sizes = [], [], []
    for file in sorted(path for path in folder.iterdir() if is_cifar(path)):
        content = np.frombuffer(file.read_bytes(), np.uint8)
        if not len(content) or len(content) % CIFAR_RECORD:
            raise DataError(f"{file} is truncated or altered: {len(content)} bytes are not whole records of 3073.")
        records = content.reshape(-1, CIFAR_RECORD)
        values.append(records[:, 1:].reshape(-1, 3, 32, 32))
        labels.append(records[:, 0])
        sizes.append((2 if file.name.startswith("test") else 0, len(records)))
    numbers = np.concatenate(labels)
    names = folder / "batches.meta.txt"
    words = np.array(names.read_text().split()) if names.is_file() else np.arange(256).astype(str)
    if numbers.max() >= len(words):
        raise DataError(f"{names} names {len(words)} classes, but there are pictures of class {numbers.max()}.")
    own = _own(sizes) if len({part for part, _ in sizes}) > 1 else None
    y = None if label is None else words[numbers]
    return image_dataset(np.concatenate(values), y, channels="first", levels=256, own=own)
