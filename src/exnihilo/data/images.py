"""Folders and lists of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec, listing
from exnihilo.data.dataset import Dataset, Examples, InMemory, assemble
from exnihilo.data.labels import Labels, read_labels
from exnihilo.data.metadata import METADATA, Metadata, read_metadata
from exnihilo.data.picture_files import PictureFiles, decode_all
from exnihilo.data.pictures import SUFFIXES, Frame, choose_frame, look, name_some, read_picture
from exnihilo.data.splits import FEWEST, SPLIT_WORDS, deal

Side = Annotated[int, 4, 1024]
Color = Literal["auto", "grey", "rgb"]


def pictures_dataset(
    pictures: Sequence[Any], y: Any = None, *, size: Side | None = None, color: Color = "auto"
) -> Dataset:
    """PIL images in memory, and their classes."""
    names = [f"Picture {place}" for place in range(len(pictures))]
    if y is not None and len(y) != len(pictures):
        raise DataError(f"{len(pictures)} pictures but {len(y)} labels: every picture needs its own.")
    notes: list[str] = []
    frame = choose_frame([look(*pair) for pair in zip(pictures, names, strict=True)], size, color, notes)
    labels = None if y is None else read_labels(y, "The label", notes)
    part = deal([f"row {row}" for row in range(len(pictures))], labels and labels.values)
    x = torch.stack([read_picture(*pair, frame) for pair in zip(pictures, names, strict=True)])
    return assemble(_spec(frame, labels), InMemory(x), part, label=labels and labels.values, notes=notes)


def image_folder(
    folder: Path,
    *,
    size: Side | None = None,
    color: Color = "auto",
    label: str | None = "auto",
    memory: Annotated[int, 0, 1_000_000] = 1024,
) -> Dataset:
    """Pictures in a folder, flat or a subfolder per class, with metadata.csv or metadata.jsonl beside them.

    size: the side of the square they are brought to; none keeps the common size. label: auto (the metadata's label,
    else the subfolder), none, or a column of the metadata. memory: in MB; larger sets are read as they are needed.
    """
    notes: list[str] = []
    names = _find_pictures(folder, notes)
    own, classes = _folders_say(names, notes)
    metadata = read_metadata(folder, names, label, notes)
    labels = _choose_labels(label, classes, metadata, notes)
    part = deal(names, labels and labels.values, own)
    paths = [folder / name for name in names]
    frame = choose_frame([look(*pair) for pair in zip(paths, names, strict=True)], size, color, notes)
    examples = _read(paths, names, frame, memory, notes)
    spec = replace(_spec(frame, labels), attributes=metadata.attributes.attributes)
    return assemble(
        spec, examples, part,
        label=labels and labels.values, attributes=metadata.attributes.values, captions=metadata.captions, notes=notes,
    )  # fmt: skip


def _spec(frame: Frame, labels: Labels | None) -> DataSpec:
    names = labels.names if labels else ()
    return DataSpec("image", frame.shape, frame.levels, len(names), names)


def _find_pictures(folder: Path, notes: list[str]) -> list[str]:
    """Relative paths of the pictures, sorted; other files are counted in the notes."""
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    names = [name for name in files if name.lower().endswith(SUFFIXES)]
    others = [name for name in files if not name.lower().endswith(SUFFIXES) and name not in METADATA]
    if len(names) < FEWEST:
        found = f" It holds: {name_some(files)}." if files else " It is empty."
        raise DataError(
            f"Folder {str(folder)!r} holds {len(names)} pictures ({listing(SUFFIXES)}); {FEWEST} or more are needed."
            + found
        )
    if others:
        notes.append(f"{len(others)} other files were passed over: {name_some(others)}.")
    return names


class FolderClasses(NamedTuple):
    """The class that the folder of every picture names ([] without any), or why it cannot be said."""

    classes: list[str]
    doubt: str = ""


def _folders_say(names: list[str], notes: list[str]) -> tuple[Tensor | None, FolderClasses]:
    """The splits that folders named train and test fix, and the classes that the (next) folders name."""
    own = None
    first = [name.rpartition("/")[0].split("/")[0] for name in names]
    parts = {SPLIT_WORDS.get(word.lower(), -1) for word in first}
    if parts >= {0, 2} and -1 not in parts:
        own = torch.tensor([SPLIT_WORDS[word.lower()] for word in first])
        notes.append(f"The folders {listing(sorted(set(first)))} were taken as the splits.")
        first = [name.partition("/")[2].rpartition("/")[0].split("/")[0] for name in names]
    if len(set(first)) == 1:
        if first[0]:
            notes.append(f"All pictures lie in the one subfolder {first[0]!r}: there are no classes.")
        return own, FolderClasses([])
    if "" in first:
        doubt = (
            f"{first.count('')} pictures lie in the folder itself, the others in subfolders. Sort them into a subfolder"
            " per class, or use -d label=none."
        )
        return own, FolderClasses([], doubt)
    return own, FolderClasses(first)


def _choose_labels(label: str | None, folders: FolderClasses, metadata: Metadata, notes: list[str]) -> Labels | None:
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


def _read(paths: list[Path], names: list[str], frame: Frame, memory: int, notes: list[str]) -> Examples:
    """All pictures in memory if they fit, else read when needed."""
    needed = len(paths) * frame.channels * frame.height * frame.width / 1e6
    if needed > memory:
        notes.append(
            f"{needed:,.0f} MB of pixels are more than memory={memory}: pictures are read from disk as they are needed,"
            " and equal ones were not looked for."
        )
        return PictureFiles(paths, names, frame)
    x = torch.empty(len(paths), *frame.shape, dtype=torch.uint8)
    bad: list[str] = []
    for place, (result, name) in enumerate(zip(decode_all(paths, names, frame), names, strict=True)):
        if isinstance(result, DataError):
            bad.append(str(result) if not bad else name)
        elif isinstance(result, Exception):
            raise result
        else:
            x[place] = result
    if bad:
        rest = f" So are: {name_some(bad[1:])}." if len(bad) > 1 else ""
        raise DataError(bad[0] + rest)
    if frame.channels == 3 and bool((x[:, :1] == x).all()):
        notes.append("All pictures are grey though stored in colour; -d color=grey would halve the work.")
    return InMemory(x)
