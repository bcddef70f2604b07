"""Tables in memory: rows that stand for themselves, or one series in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from exnihilo.core import DataError, did_you_mean, listing
from exnihilo.data.dataset import Dataset
from exnihilo.data.series import Stride, Window, series_of_channels
from exnihilo.data.tables import read_dates, table_dataset
from exnihilo.data.times import Times

FrameKind = Literal["auto", "table", "series"]

TIME_WORDS = ("time", "date", "datetime", "timestamp", "year", "month", "week", "day", "hour", "minute", "second", "ds")
OBVIOUS = 100  # rows from which rising dates make a series by themselves


def frame_dataset(
    frame: Any,
    *,
    kind: FrameKind = "auto",
    label: str | None = None,
    drop: str = "",
    attributes: str = "",
    time: str | None = None,
    window: Window | None = None,
    stride: Stride | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """A DataFrame as a table, or as a series of numbers in time.

    kind=auto: a series where time, window or stride is given, or where in 100 rows or more dates (or a column named
    year, time, ...) rise from row to row and all other columns are numbers. label, drop and attributes name columns,
    comma separated. time: the column that orders the rows, which is not modelled; none = as they stand. window: steps
    an example; 64 if not given, fewer for a short series. stride: from one window to the next; an eighth of a window
    if not given.
    """
    said = list(notes)
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    asked = time is not None or window is not None or stride is not None
    beside = {name.strip() for name in (*drop.split(","), label or "")}
    if kind == "auto" and not asked and not attributes and (found := _obvious_time(frame, beside)) is not None:
        kind, time = "series", found
        said.append(f"Column {found!r} rises from row to row: taken as the time of a series (-d kind=table if not).")
    if kind == "table" or not (asked or kind == "series"):
        if asked:
            raise DataError("time=, window= and stride= are for series, not for kind=table. Leave them or kind= out.")
        return table_dataset(frame, label=label, drop=drop, attributes=attributes, notes=said)
    if attributes:
        raise DataError(f"attributes={attributes} are of rows; a series has channels. Leave it out, or use drop=.")
    return _series(frame, beside, label, time, window, stride, said)


def _series(
    frame: Any,
    beside: set[str],
    label: str | None,
    time: str | None,
    window: int | None,
    stride: int | None,
    notes: list[str],
) -> Dataset:
    for name in sorted({*beside, time or ""} - {""}):
        if name not in frame.columns:
            hint = did_you_mean(name, frame.columns)
            raise DataError(f"There is no column {name!r}.{hint} There are: {listing(frame.columns)}.")
    time, times = time or _obvious_time(frame, beside, fewest=2), None
    if time is None:
        notes.append("No column of times was found: rows follow each other as they stand (-d time=COLUMN).")
    else:
        moments = _moments(frame[time])
        reverse = _ordered(time, moments, notes)
        assert moments is not None
        frame, moments = (frame.iloc[::-1].reset_index(drop=True), moments[::-1]) if reverse else (frame, moments)
        times = Times.of(time, moments, dates=not _is_number(frame[time]))
    channels = [name for name in frame.columns if name not in beside and name != time]
    if not channels:
        raise DataError(f"No column is left to model: there are {listing(frame.columns)}.")
    for name in channels:
        _refuse_words(frame[name])
    x = frame[channels].to_numpy(dtype=np.float64, na_value=np.nan).T
    states = None if label is None else frame[label].astype(object).tolist()
    return replace(series_of_channels(x, channels, states, window, stride, notes), times=times)


def _obvious_time(frame: Any, beside: set[str], fewest: int = OBVIOUS) -> str | None:
    """The first column of dates, or of a name that says time, that rises or falls strictly beside numbers alone."""
    for name in frame.columns:
        if name in beside or len(frame) < fewest:
            continue
        numeric = _is_number(frame[name])
        if numeric and name.lower() not in TIME_WORDS:
            continue
        moments = _moments(frame[name])
        if moments is None or not (rising(moments) or rising(-moments)):
            continue
        if all(_is_number(frame[other]) for other in frame.columns if other != name and other not in beside):
            return str(name)
    return None


def _is_number(values: Any) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _moments(values: Any) -> np.ndarray | None:
    """Times as numbers, days of dates; None for what is neither."""
    if _is_number(values):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return read_dates(values)


def rising(moments: np.ndarray) -> bool:
    """Whether every moment comes after the one before."""
    return bool((np.diff(moments) > 0).all())


def _ordered(name: str, moments: np.ndarray | None, notes: list[str]) -> bool:
    """Whether the rows stand in reverse; times that are none, missing or out of order are a DataError with the row."""
    if moments is None:
        raise DataError(f"Column {name!r} holds neither numbers nor dates such as 2024-05-17 13:00, so no times.")
    if np.isnan(moments).any():
        raise DataError(f"Column {name!r}, row {int(np.isnan(moments).argmax())}: the time is missing.")
    reverse = len(moments) > 1 and rising(-moments)
    if reverse:
        moments = moments[::-1]
        notes.append("The last row is the earliest: rows were reversed.")
    steps = np.diff(moments)
    if (steps <= 0).any():
        row = int((steps <= 0).argmax()) + 1
        raise DataError(
            f"Column {name!r}, row {row} (counted from 0): its time does not come after that of the row before. Sort"
            " the rows and remove repeated times, or name another column with -d time=."
        )
    usual = float(np.median(steps))
    if (odd := (np.abs(steps - usual) > 1e-3 * usual)).any():
        notes.append(
            f"{int(odd.sum()):,} of {len(steps):,} steps in time differ from the usual one (the first at row"
            f" {int(odd.argmax()) + 1}): rows were taken as equally spaced."
        )
    return reverse


def _refuse_words(values: Any) -> None:
    if not _is_number(values):
        row = int(values.notna().to_numpy().argmax())
        raise DataError(
            f"Column {values.name!r} holds no numbers (row {row}: {values.iloc[row]!r}), so it is no channel. Leave it"
            f" out with -d drop={values.name}, or make it the class with -d label={values.name}."
        )
