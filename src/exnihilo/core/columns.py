"""The invertible encoding of table columns: numbers, categories and missing values as one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from exnihilo.core.errors import DataError, did_you_mean, listing


@dataclass(frozen=True)
class Column:
    """One column of a table and the slice of x that holds it.

    number    (raw - mean) / scale; `step` is the raw distance of its values (0 = continuous). With `missing` a second
              entry is 1 where the value is missing (the first is then 0) and 0 elsewhere. A `date` counts days since
              1970-01-01.
    category  one entry of 0 or 1 per category, exactly one of them 1; a missing value is a category named None.
    """

    name: str
    kind: Literal["number", "category"]
    start: int
    width: int = 1
    mean: float = 0.0
    scale: float = 1.0
    step: float = 0.0
    categories: tuple[Any, ...] = ()
    missing: bool = False
    date: bool = False

    @property
    def slice(self) -> slice:
        """Where it stands in x."""
        return slice(self.start, self.start + self.width)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Column:
        """From the plain values in a run record."""
        return cls(**{**record, "categories": tuple(record.get("categories", ()))})


def table_steps(columns: Sequence[Column], size: int) -> Tensor:
    """[size]: the step of every entry in model space, 0 where it is continuous."""
    steps = torch.zeros(size)
    for column in columns:
        if column.kind == "category":
            steps[column.slice] = 1.0
        else:
            steps[column.start] = column.step / column.scale
            if column.missing:
                steps[column.start + 1] = 1.0
    return steps


def encode_table(columns: Sequence[Column], frame: Any, size: int) -> Tensor:
    """DataFrame -> [N, size] float32; every value finite."""
    x = np.zeros((len(frame), size), dtype=np.float64)
    for column in columns:
        if column.name not in frame.columns:
            hint = did_you_mean(column.name, map(str, frame.columns))
            raise DataError(f"Column {column.name!r} is missing.{hint} There are: {listing(frame.columns)}.")
        values = frame[column.name]
        gone = values.isna().to_numpy()
        if column.kind == "category":
            x[np.arange(len(frame)), column.start + _category_index(column, values, gone)] = 1.0
            continue
        if gone.any() and not column.missing:
            raise DataError(
                f"Column {column.name!r}, row {int(gone.argmax())}: a missing value, and the model knows none there."
            )
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        x[:, column.start] = np.where(gone, 0.0, (numbers - column.mean) / column.scale)
        if column.missing:
            x[:, column.start + 1] = gone
    return torch.from_numpy(x.astype(np.float32))


def _category_index(column: Column, values: Any, gone: np.ndarray) -> np.ndarray:
    place = {category: index for index, category in enumerate(column.categories)}
    index = np.array([place.get(None if lost else value, -1) for value, lost in zip(values, gone, strict=True)])
    if (index < 0).any():
        row = int((index < 0).argmax())
        raise DataError(
            f"Column {column.name!r}, row {row}: {values.iloc[row]!r} was not seen in training."
            f" Known: {listing(column.categories[:20])}."
        )
    return index


def decode_table(columns: Sequence[Column], x: Tensor) -> Any:
    """[N, size] -> DataFrame with the original column names and types; missing numbers are NaN."""
    import pandas as pd

    values: dict[str, Any] = {}
    for column in columns:
        if column.kind == "category":
            chosen = x[:, column.slice].argmax(dim=1).tolist()
            values[column.name] = [column.categories[index] for index in chosen]
            continue
        raw = x[:, column.start].double().numpy() * column.scale + column.mean
        if column.step:
            raw = np.round(raw / column.step) * column.step
        if column.missing:
            raw = np.where(x[:, column.start + 1].numpy() > 0.5, math.nan, raw)
        elif column.step and float(column.step).is_integer():
            raw = raw.astype(np.int64)
        values[column.name] = raw
    return pd.DataFrame(values)


def quantise_table(columns: Sequence[Column], x: Tensor) -> Tensor:
    """[N, size] -> the nearest encoding of a real row: one category each, whole steps, flags 0 or 1."""
    near = x.clone()
    for column in columns:
        part = x[:, column.slice]
        if column.kind == "category":
            near[:, column.slice] = torch.nn.functional.one_hot(part.argmax(dim=1), column.width).to(x)
            continue
        if column.step:
            raw = part[:, 0].double() * column.scale + column.mean
            near[:, column.start] = (((raw / column.step).round() * column.step - column.mean) / column.scale).to(x)
        if column.missing:
            flag = (part[:, 1] > 0.5).to(x)
            near[:, column.start + 1] = flag
            near[:, column.start] *= 1 - flag
    return near
