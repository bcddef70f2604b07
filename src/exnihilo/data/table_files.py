"""Tables in files: .csv, .tsv (also gzipped) and .parquet."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from exnihilo.core import DataError, listing
from exnihilo.data.dataset import Dataset
from exnihilo.data.frames import FrameKind, frame_dataset
from exnihilo.data.series import Stride, Window

Separator = Literal["auto", "comma", "semicolon", "tab", "pipe"]
Decimal = Literal["auto", "point", "comma"]
Header = Literal["auto", "yes", "no"]
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def csv_table(
    path: Path,
    *,
    kind: FrameKind = "auto",
    label: str | None = None,
    drop: str = "",
    attributes: str = "",
    time: str | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
    separator: Separator = "auto",
    decimal: Decimal = "auto",
    header: Header = "auto",
    skip: Annotated[int, 0, 1000] = 0,
) -> Dataset:
    """A text table, or a series in time (see `frame_dataset`). label, drop and attributes name columns (comma
    separated); skip passes over the first lines."""
    frame, notes = read_csv(path, separator, decimal, header, skip)
    return frame_dataset(
        frame, kind=kind, label=label, drop=drop, attributes=attributes, time=time, window=window, stride=stride,
        notes=notes,
    )  # fmt: skip


def parquet_table(
    path: Path,
    *,
    kind: FrameKind = "auto",
    label: str | None = None,
    drop: str = "",
    attributes: str = "",
    time: str | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
) -> Dataset:
    """A Parquet table, or a series in time (see `frame_dataset`); needs pyarrow."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise DataError("Reading .parquet needs pyarrow: pip install pyarrow") from None
    except (OSError, ValueError) as reason:
        raise DataError(f"{path} cannot be read as Parquet: {str(reason).splitlines()[0]}") from None
    return frame_dataset(
        frame, kind=kind, label=label, drop=drop, attributes=attributes, time=time, window=window, stride=stride
    )


def read_csv(
    path: Path,
    separator: Separator = "auto",
    decimal: Decimal = "auto",
    header: Header = "auto",
    skip: int = 0,
) -> tuple[Any, list[str]]:
    """A DataFrame and what was assumed: separator, decimal sign, header and encoding are found by looking."""
    import pandas as pd

    notes: list[str] = []
    lines, encoding = _first_lines(path, notes)
    lines = lines[skip:]
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} is empty.")
    sign = SEPARATORS[separator] if separator != "auto" else _separator(lines, path)
    if separator == "auto" and sign != ",":
        notes.append(f"Fields are separated by {_word(sign)} (-d separator= changes it).")
    cells = list(csv.reader(lines, delimiter=sign, skipinitialspace=True))
    point = _decimal(cells, sign, decimal, notes)
    named = header == "yes" or (header == "auto" and not any(NUMBER.fullmatch(cell.strip()) for cell in cells[0]))
    if header == "auto" and not named:
        notes.append("The first line holds numbers, so there is no header: columns are c1, c2, ... (-d header=yes).")
    if named and (repeated := {cell for cell in cells[0] if cell and cells[0].count(cell) > 1}):
        raise DataError(f"{path}: several columns share a name: {listing(sorted(repeated))}. Rename them.")
    if (usual := _usual_width(cells[1:])) > len(cells[0]):
        raise DataError(
            f"{path}: the first line has fewer fields ({len(cells[0])}) than most others ({usual}). If it is no header"
            " but a remark, pass over it with -d skip=1."
        )
    try:
        frame = pd.read_csv(
            path, sep=sign, decimal=point, header=0 if named else None, skiprows=skip, encoding=encoding,
            skipinitialspace=True, na_values=["?"], low_memory=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, EOFError, OSError) as reason:
        text = str(reason).strip().splitlines()[-1].removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path} cannot be read as a table: {text}. See -d separator=, header= and skip=.") from None
    if not named:
        frame.columns = [f"c{place}" for place in range(1, frame.shape[1] + 1)]
    if "?" in {cell.strip() for row in cells for cell in row}:
        notes.append("The sign ? was taken as a missing value.")
    return frame, notes


def _first_lines(path: Path, notes: list[str], most: int = 200) -> tuple[list[str], str]:
    """The first lines and the encoding of the whole file."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError) as reason:
        raise DataError(f"{path} cannot be read: {reason}.") from None
    if b"\0" in content[:4096]:
        raise DataError(f"{path} is no text: a table in .csv or .tsv was expected.")
    try:
        text, encoding = content.decode("utf-8-sig"), "utf-8-sig"
    except UnicodeDecodeError:
        text, encoding = content.decode("latin-1"), "latin-1"
        notes.append("The file is not UTF-8: its letters were read as Latin-1.")
    return text[: 200 * most].splitlines()[:most], encoding


def _separator(lines: list[str], path: Path) -> str:
    """The sign that cuts most lines into the same number of two or more fields."""
    best, most = "\t" if ".tsv" in path.name else ",", 0.0
    for sign in SEPARATORS.values():
        rows = [row for row in csv.reader(lines, delimiter=sign) if row]
        usual = _usual_width(rows)
        agreement = sum(len(row) == usual for row in rows) / len(rows) if usual > 1 else 0.0
        if agreement > most:
            best, most = sign, agreement
    return best


def _usual_width(rows: list[list[str]]) -> int:
    """The number of fields that most rows have."""
    widths = [len(row) for row in rows if row]
    return max(set(widths), key=widths.count) if widths else 0


def _decimal(cells: list[list[str]], sign: str, decimal: Decimal, notes: list[str]) -> str:
    if decimal != "auto":
        return "," if decimal == "comma" else "."
    if sign != "," and any(DECIMAL_COMMA.fullmatch(cell) for row in cells[1:] for cell in row):
        notes.append("Numbers have a decimal comma (-d decimal=point if not).")
        return ","
    return "."


def _word(sign: str) -> str:
    return next(word for word, other in SEPARATORS.items() if other == sign)
