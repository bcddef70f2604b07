"""Folders of files that are examples or hold them: which are read, and the splits and classes that folders name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from exnihilo.core import DataError, listing
from exnihilo.data.labels import Labels, read_labels
from exnihilo.data.metadata import METADATA, Metadata
from exnihilo.data.pictures import name_some
from exnihilo.data.splits import SPLIT_WORDS


def find_files(folder: Path, suffixes: tuple[str, ...], what: str, fewest: int, notes: list[str]) -> list[str]:
    """Relative paths of the files of these types, sorted; others are counted in the notes, hidden ones passed over."""
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    names = [name for name in files if name.lower().endswith(suffixes)]
    others = [name for name in files if not name.lower().endswith(suffixes) and name not in METADATA]
    if len(names) < fewest:
        found = f" It holds: {name_some(files)}." if files else " It is empty."
        raise DataError(
            f"Folder {str(folder)!r} holds {len(names)} {what} ({listing(suffixes)}); {fewest} or more are needed."
            + found
        )
    if others:
        notes.append(f"{len(others)} other files were passed over: {name_some(others)}.")
    return names


class FolderClasses(NamedTuple):
    """The class that the folder of every file names ([] without any), or why it cannot be said."""

    classes: list[str]
    doubt: str = ""


def folders_say(names: list[str], what: str, notes: list[str]) -> tuple[Tensor | None, FolderClasses]:
    """The splits that folders named train and test (or files of these names) fix, and the classes that the (next)
    folders name."""
    own = None
    first = [name.split("/")[0] if "/" in name else Path(name).stem for name in names]
    parts = {SPLIT_WORDS.get(word.lower(), -1) for word in first}
    if parts >= {0, 2} and -1 not in parts:
        own = torch.tensor([SPLIT_WORDS[word.lower()] for word in first])
        where = "folders" if "/" in names[0] else "files"
        notes.append(f"The {where} {listing(sorted(set(first)))} were taken as the splits.")
        names = [name.partition("/")[2] for name in names]
    first = [name.rpartition("/")[0].split("/")[0] for name in names]
    if len(set(first)) == 1:
        if first[0]:
            notes.append(f"All {what} lie in the one subfolder {first[0]!r}: there are no classes.")
        return own, FolderClasses([])
    if "" in first:
        doubt = (
            f"{first.count('')} {what} lie in the folder itself, the others in subfolders. Sort them into a subfolder"
            " per class, or use -d label=none."
        )
        return own, FolderClasses([], doubt)
    return own, FolderClasses(first)


def choose_labels(label: str | None, folders: FolderClasses, metadata: Metadata, notes: list[str]) -> Labels | None:
    """The metadata's label, else the subfolder; label: auto, a column of the metadata, or None."""
    if label is None:
        return None
    if metadata.label is not None:
        if folders.classes:
            notes.append(f"The label is {metadata.label.name!r} of the metadata, not the subfolder.")
        where = f"Column {metadata.label.name!r} of the metadata"
        return read_labels(metadata.label.astype(object).tolist(), where, notes)
    if folders.doubt:
        raise DataError(folders.doubt)
    if not folders.classes:
        return None
    labels = read_labels(folders.classes, "The subfolders", notes)
    notes.append(f"The subfolder is the class: {name_some(list(labels.names), 10)} (-d label=none ignores it).")
    return labels
