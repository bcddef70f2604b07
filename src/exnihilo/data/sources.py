"""`load_data`: from what the user names to the loader that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.core.registry import Option, check_options, signature_options
from exnihilo.data.arrays import array_dataset
from exnihilo.data.beside import with_given
from exnihilo.data.catalog import DATASETS
from exnihilo.data.dataset import Dataset
from exnihilo.data.files import file_loader, folder_loader
from exnihilo.data.frames import frame_dataset
from exnihilo.data.images import pictures_dataset

Loader = Callable[..., Dataset]


def load_data(source: Any, /, **options: Any) -> Dataset:
    """Examples from a name, a path or something in memory.

    source: a name (`exnihilo.list_datasets()`), a folder of images, recordings, texts or idx files, a .csv .tsv
    .parquet .npy .npz .txt .wav .flac .ogg or idx file, an array, a tensor, a DataFrame, a list of PIL images, or
    (examples, labels). Options are the
    loader's keywords (label= drop= size= ...); a wrong one is an OptionError that lists them. given= is an array of
    what every example is conditioned on, numbers or pictures (in a .npz the name of one). What was assumed stands in
    `.notes`, the options as used in `.options`.
    """
    name, loader, arguments = _find(source)
    given = options.get("given")
    if given is not None and not isinstance(given, str):  # a string names an array in the source
        options = {option: value for option, value in options.items() if option != "given"}
    checked = check_options(signature_options(loader, skip=("own", "notes")), options, name)
    data = replace(loader(*arguments, **checked), source=name, options=checked)
    return data if given is None or isinstance(given, str) else with_given(data, given)


def data_options(source: Any) -> Mapping[str, Option]:
    """The options that a source takes, by name, as `core.registry.Option`."""
    return signature_options(_find(source)[1], skip=("own", "notes"))


def _find(source: Any) -> tuple[str, Loader, tuple[Any, ...]]:
    """How the source is called in a run record, its loader, and the loader's positional arguments."""
    if isinstance(source, str) and source in DATASETS:
        return source, DATASETS[source].load, ()
    if isinstance(source, str | Path):
        return str(source), *_find_path(Path(source).expanduser(), str(source))
    return _find_in_memory(source)


def _known() -> str:
    return f"Known by name: {listing(DATASETS)}."


def _find_path(path: Path, given: str) -> tuple[Loader, tuple[Any, ...]]:
    if path.is_dir():
        return folder_loader(path), (path,)
    if path.is_file():
        return file_loader(path), (path,)
    hint = did_you_mean(given, DATASETS)
    raise DataError(f"There is no data set named {given!r}, and no file or folder of that path.{hint} {_known()}")


def _find_in_memory(source: Any) -> tuple[str, Loader, tuple[Any, ...]]:
    if type(source).__name__ == "DataFrame":
        return f"DataFrame {tuple(source.shape)}", frame_dataset, (source,)
    if isinstance(source, np.ndarray | torch.Tensor):
        return f"array {tuple(source.shape)}", array_dataset, (source,)
    if isinstance(source, list | tuple) and source and all(_is_picture(item) for item in source):
        return f"{len(source)} pictures", pictures_dataset, (list(source),)
    if isinstance(source, tuple) and len(source) == 2:
        x, y = source
        if isinstance(x, list) and x and all(_is_picture(item) for item in x):
            return f"{len(x)} pictures", pictures_dataset, (x, y)
        if isinstance(x, np.ndarray | torch.Tensor | list):
            x = x if isinstance(x, torch.Tensor) else _array(x)
            return f"array {tuple(x.shape)}", array_dataset, (x, _plain(y))
    if isinstance(source, list):
        array = _array(source)
        return f"array {array.shape}", array_dataset, (array,)
    raise DataError(
        f"A {type(source).__name__} is no source of data. Give a name, a path, an array, a tensor, a DataFrame, a"
        f" list of PIL images, or a tuple (array, labels). {_known()}"
    )


def _array(x: Any) -> np.ndarray:
    """A list as an array; entries of unequal lengths are a DataError naming two."""
    try:
        return np.asarray(x)
    except ValueError:
        shapes = [np.shape(item) for item in x]
        other = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), 0)
        raise DataError(
            f"The examples have unequal lengths: number 0 has the shape {shapes[0]}, number {other} {shapes[other]}."
            " Cut them to one length, (N, C, T) for series."
        ) from None


def _is_picture(item: Any) -> bool:
    return "PIL" in type(item).__module__ and callable(getattr(item, "convert", None))


def _plain(y: Any) -> Any:
    return y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
