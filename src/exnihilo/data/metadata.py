"""`metadata.csv` or `metadata.jsonl` beside pictures or recordings: classes, captions and attributes by file name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.data.attributes import Attributes, read_attributes
from exnihilo.data.table_files import read_csv

METADATA = ("metadata.csv", "metadata.jsonl")
LABELS = ("label", "class")


class Metadata(NamedTuple):
    """What is known beside the files, row by row in their order."""

    label: Any = None  # a pandas Series, None where there is no such column
    captions: tuple[str, ...] = ()
    attributes: Attributes = Attributes((), None)


def read_metadata(folder: Path, names: list[str], label: str | None, notes: list[str]) -> Metadata:
    """Rows are joined to files by `file_name`; files without a row know nothing, and the notes count them."""
    present = [folder / name for name in METADATA if (folder / name).is_file()]
    wanted = label not in (None, "auto")
    if len(present) > 1:
        raise DataError(f"{folder} holds both {listing(METADATA)}: keep one.")
    if not present:
        if wanted:
            raise DataError(f"label={label}: {folder} holds no metadata.csv or metadata.jsonl with such a column.")
        return Metadata()
    frame = _join(_read(present[0]), names, present[0].name, notes)
    column = label if wanted else next((name for name in LABELS if name in frame.columns), None)
    if wanted and column not in frame.columns:
        hint = did_you_mean(str(label), frame.columns)
        raise DataError(f"label={label}: {present[0].name} has no such column.{hint} It has: {listing(frame.columns)}.")
    captions = tuple(frame["text"].fillna("").astype(str)) if "text" in frame.columns else ()
    if captions:
        notes.append("Column 'text' holds captions, which are kept for models that read text.")
    beside = [name for name in frame.columns if name not in (column, "text")]
    return Metadata(None if column is None else frame[column], captions, read_attributes(frame[beside], notes))


def _read(path: Path) -> Any:
    import pandas as pd

    if path.suffix == ".csv":
        return read_csv(path)[0]
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as reason:
            raise DataError(f"{path.name}, line {number}: {reason.msg}. Every line is one JSON object.") from None
        if not isinstance(record, dict):
            raise DataError(f"{path.name}, line {number}: {line[:40]!r} is no JSON object.")
        records.append(record)
    return pd.DataFrame(records)


def _join(frame: Any, names: list[str], file: str, notes: list[str]) -> Any:
    if "file_name" not in frame.columns:
        hint = did_you_mean("file_name", map(str, frame.columns))
        raise DataError(f"{file} has no column 'file_name'.{hint} It has: {listing(frame.columns)}.")
    keys = frame["file_name"].astype(str)
    if keys.duplicated().any():
        raise DataError(f"{file} names {keys[keys.duplicated()].iloc[0]!r} twice.")
    known = set(names)
    if lost := [key for key in keys if key not in known]:
        raise DataError(f"{file} names {lost[0]!r}, but there is no such file in the folder ({len(lost)} such rows).")
    if bare := len(names) - len(keys):
        notes.append(f"{bare} files have no row in {file}: nothing is known of them.")
    return frame.set_index(keys).drop(columns="file_name").reindex(names)
