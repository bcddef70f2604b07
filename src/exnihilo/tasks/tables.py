"""The user's own job: the gaps of a table filled, everything else as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exnihilo.core import Column, DataError, GenerativeModel, listing
from exnihilo.data.render import write_whole
from exnihilo.data.rows import encode_rows
from exnihilo.tasks.impute import fill


@dataclass
class FilledTable:
    """The table with its gaps filled, how many cells those were, and what else to know."""

    frame: Any
    cells: dict[str, int]  # filled, by column
    how: str
    notes: list[str]

    def save(self, path: str | Path) -> Path:
        """As .csv, .tsv or .parquet, with the columns in their order."""
        path = Path(path)
        suffix = table_suffix(path)
        if suffix == ".parquet":
            return write_whole(path, lambda draft: self.frame.to_parquet(draft, index=False))
        sign = "," if suffix == ".csv" else "\t"
        return write_whole(path, lambda draft: self.frame.to_csv(draft, sep=sign, index=False))


def table_suffix(path: str | Path) -> str:
    """How a table is written there; another ending is a DataError."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise DataError(f"{path}: tables are written as .csv, .tsv or .parquet.")
    return suffix


def fill_table(model: GenerativeModel, frame: Any, *, n: int = 20, seed: int = 0) -> FilledTable:
    """Fill the missing values of a DataFrame in the columns that the model was trained on; see `fill`.

    Every cell gets its best guess: of n draws the mean, or the most frequent category. Best guesses vary less than data
    do; n=1 with several seeds gives several tables to analyse side by side (multiple imputation, Rubin, 1987). Values
    that are there, other columns, their order and the rows' order stay.
    """
    if model.spec.kind != "table":
        raise DataError(f"{model.recipe} was trained on {model.spec.kind} data, and only tables have gaps to fill.")
    x, mask = encode_rows(model.spec, frame)
    table = frame.copy().reset_index(drop=True)
    table.columns = [str(name) for name in table.columns]
    gaps = {column.name: ~mask[:, column.start].numpy() for column in model.spec.columns}
    cells = {name: int(gone.sum()) for name, gone in gaps.items() if gone.any()}
    notes = [f"Column {name!r} shows no value: all of it is the model's." for name in cells if gaps[name].all()]
    unread = [name for name in table.columns if name not in gaps and table[name].isna().any()]
    if unread:
        notes.append(f"Not filled, as the model does not know them: {listing(unread)}.")
    if not cells:
        return FilledTable(table, {}, "nothing", ["Nothing is missing in the columns that the model knows.", *notes])
    rows = (~mask).any(dim=1)
    filled = fill(model, x[rows], mask[rows], n=n, seed=seed)
    answers = model.spec.decode(filled.best())
    for column in model.spec.columns:
        if column.name in cells:
            own = np.flatnonzero(gaps[column.name][rows.numpy()])
            table[column.name] = _mended(
                column, table[column.name], gaps[column.name], answers[column.name].to_numpy()[own]
            )
    return FilledTable(table, cells, filled.how, notes)


def _mended(column: Column, values: Any, gone: np.ndarray, answers: np.ndarray) -> Any:
    """A column with its gaps filled, in a type that suits: whole numbers stay whole, dates are dates again."""
    import pandas as pd

    if column.kind == "category":
        mended = values.astype(object)
        mended[gone] = answers
        return mended.infer_objects()
    if pd.api.types.is_numeric_dtype(values.dtype):
        mended = values.astype(np.float64)
        mended[gone] = [float(f"{answer:.6g}") for answer in answers.astype(np.float64)]
        whole = column.step and float(column.step).is_integer() and (mended == mended.round()).all()
        return mended.astype(np.int64) if whole else mended
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        mended = values.copy()
        mended[gone] = (pd.Timestamp("1970-01-01") + pd.to_timedelta(answers, unit="D")).tz_localize(values.dt.tz)
        return mended
    mended = values.astype(object)
    dates = pd.Timestamp("1970-01-01") + pd.to_timedelta(answers, unit="D")
    clock = mended[~gone].astype(str).str.contains(":").any()
    mended[gone] = dates.strftime("%Y-%m-%d %H:%M" if clock else "%Y-%m-%d")
    return mended
