"""Which loader reads a file or a folder, by its name and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.data.array_files import cifar_files, idx_files, is_cifar, is_idx, npy_array, npz_arrays
from exnihilo.data.audio import audio_file, audio_folder
from exnihilo.data.audio_files import AUDIO_SUFFIXES
from exnihilo.data.dataset import Dataset
from exnihilo.data.images import image_folder
from exnihilo.data.pictures import SUFFIXES
from exnihilo.data.table_files import csv_table, parquet_table
from exnihilo.data.texts import TEXT_SUFFIXES, text_file, text_folder

Loader = Callable[..., Dataset]

LOADERS: dict[str, Loader] = {
    ".csv": csv_table,
    ".tsv": csv_table,
    ".parquet": parquet_table,
    ".npy": npy_array,
    ".npz": npz_arrays,
    **dict.fromkeys(TEXT_SUFFIXES, text_file),
    **dict.fromkeys(AUDIO_SUFFIXES, audio_file),
}


def file_loader(path: Path) -> Loader:
    """The loader of one file; a kind of file that is not read is a DataError saying what is."""
    if is_idx(path):
        return idx_files
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in LOADERS and (suffix in (".csv", ".tsv") or not path.name.endswith(".gz")):
        return LOADERS[suffix]
    if suffix in SUFFIXES:
        raise DataError(f"{path} is a single picture; name the folder that holds them all, such as {path.parent}.")
    hint = did_you_mean(suffix, LOADERS)
    raise DataError(f"{path}: files of type {suffix or '(none)'} are not read.{hint} It reads {_readable()}.")


def folder_loader(folder: Path) -> Loader:
    """Idx files, CIFAR-10's, pictures, recordings or texts: the first of these that it holds any of."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if any(is_idx(path) for path in files if path.parent == folder):
        return idx_files
    if any(is_cifar(path) for path in files if path.parent == folder):
        return cifar_files
    held = {path.suffix.lower() for path in files}
    if held & set(SUFFIXES):
        return image_folder
    if held & set(AUDIO_SUFFIXES):
        return audio_folder
    return text_folder if held & set(TEXT_SUFFIXES) else image_folder


def _readable() -> str:
    folders = f"folders of pictures ({listing(SUFFIXES)}), recordings or texts"
    return f"{listing(LOADERS)}, .csv.gz, idx files (*-ubyte) and {folders}"
