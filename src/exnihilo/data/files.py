"""Which loader reads a file or a folder, by its name and what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.data.array_files import cifar_files, idx_files, is_cifar, is_idx, npy_array, npz_arrays
from exnihilo.data.dataset import Dataset
from exnihilo.data.images import image_folder
from exnihilo.data.pictures import SUFFIXES
from exnihilo.data.table_files import csv_table, parquet_table

Loader = Callable[..., Dataset]

LOADERS: dict[str, Loader] = {
    ".csv": csv_table,
    ".tsv": csv_table,
    ".parquet": parquet_table,
    ".npy": npy_array,
    ".npz": npz_arrays,
}
LATER = {".txt": "text", ".wav": "audio", ".flac": "audio", ".mp3": "audio", ".jsonl": "text"}


def file_loader(path: Path) -> Loader:
    """The loader of one file; a kind of file that is not read is a DataError saying what is."""
    if is_idx(path):
        return idx_files
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in LOADERS and (suffix in (".csv", ".tsv") or not path.name.endswith(".gz")):
        return LOADERS[suffix]
    if suffix in LATER:
        raise DataError(f"{path}: {LATER[suffix]} data are not read by this version yet. It reads {_readable()}.")
    if suffix in SUFFIXES:
        raise DataError(f"{path} is a single picture; name the folder that holds them all, such as {path.parent}.")
    hint = did_you_mean(suffix, LOADERS)
    raise DataError(f"{path}: files of type {suffix or '(none)'} are not read.{hint} It reads {_readable()}.")


def folder_loader(folder: Path) -> Loader:
    """Idx files, CIFAR-10's, or pictures; a folder of sound or text is a DataError."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if any(is_idx(path) for path in files if path.parent == folder):
        return idx_files
    if any(is_cifar(path) for path in files if path.parent == folder):
        return cifar_files
    kinds = Counter(LATER.get(path.suffix.lower(), "") for path in files)
    kinds.pop("", None)
    if kinds and not any(path.suffix.lower() in SUFFIXES for path in files):
        kind = kinds.most_common(1)[0][0]
        raise DataError(f"{folder} is a folder of {kind} data, which this version does not read yet.")
    return image_folder


def _readable() -> str:
    return f"{listing(LOADERS)}, .csv.gz, idx files (*-ubyte) and folders of pictures ({listing(SUFFIXES)})"
