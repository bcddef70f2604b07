"""Folders and lists of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from exnihilo.core import DataError, DataSpec
from exnihilo.data.dataset import Dataset, Examples, InMemory, assemble
from exnihilo.data.folders import choose_labels, find_files, folders_say
from exnihilo.data.labels import Labels, read_labels
from exnihilo.data.metadata import read_metadata
from exnihilo.data.picture_files import PictureFiles, decode_all
from exnihilo.data.pictures import SUFFIXES, Frame, choose_frame, look, name_some, read_picture
from exnihilo.data.splits import FEWEST, deal

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
    names = find_files(folder, SUFFIXES, "pictures", FEWEST, notes)
    own, classes = folders_say(names, "pictures", notes)
    metadata = read_metadata(folder, names, label, notes)
    labels = choose_labels(label, classes, metadata, notes)
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
