"""Further rows of a table that is already described: a file as it stands, and what of it a model can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Column, DataError, DataSpec, did_you_mean, listing
from exnihilo.core.registry import check_options, signature_options
from exnihilo.data.table_files import csv_table, parquet_table, read_csv
from exnihilo.data.tables import read_dates


def read_frame(path: str | Path, **options: Any) -> Any:
    """A DataFrame with every column of a .csv, .tsv (also gzipped) or .parquet file.

    options: those of the file's loader; what they say of single columns (label=, drop=) does not matter here.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        import pandas as pd

        check_options(signature_options(parquet_table), options, str(path))
        parquet_table(path)  # says what is wrong with it
        return pd.read_parquet(path)
    if suffix not in (".csv", ".tsv"):
        raise DataError(f"{path} is no table. Gaps are filled in .csv, .tsv and .parquet files.")
    checked = check_options(signature_options(csv_table), options, str(path))
    reading = {name: checked[name] for name in ("separator", "decimal", "header", "skip")}
    return read_csv(path, **reading)[0]


def encode_rows(spec: DataSpec, frame: Any) -> tuple[Tensor, Tensor]:
    """x [N, size] and mask [N, size], False over all entries of a missing value, for a table's `spec`.

    Missing values are allowed in every column, also where training had none. Texts that are no numbers, infinite
    numbers and unknown categories are a DataError that names column and row.
    """
    import pandas as pd

    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    mask = torch.ones(len(frame), spec.size, dtype=torch.bool)
    columns = {}
    for column in spec.columns:
        if column.name not in frame.columns:
            hint = did_you_mean(column.name, frame.columns)
            raise DataError(f"Column {column.name!r} is missing.{hint} There are: {listing(frame.columns)}.")
        values = _numbers(column, frame[column.name]) if column.kind == "number" else _known(column, frame[column.name])
        gone = pd.isna(values).to_numpy()
        mask[:, column.slice] = torch.from_numpy(~gone)[:, None]
        stand_in = column.mean if column.kind == "number" else column.categories[0]
        columns[column.name] = values.where(~gone, stand_in)
    return spec.encode(pd.DataFrame(columns)), mask


def _numbers(column: Column, values: Any) -> Any:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values.dtype):
        numbers = read_dates(values)
        if numbers is None:
            parsed = pd.to_numeric(values, errors="coerce")
            if (wrong := parsed.isna() & values.notna()).any():
                row = int(wrong.to_numpy().argmax())
                raise DataError(f"Column {column.name!r}, row {row}: {values.iloc[row]!r} is not a number.")
            numbers = parsed.to_numpy(dtype=np.float64)
        values = pd.Series(numbers, index=values.index)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        raise DataError(f"Column {column.name!r}, row {row}: {numbers[row]} is not a finite number.")
    return pd.Series(numbers, index=values.index)


def _known(column: Column, values: Any) -> Any:
    """The categories as the description names them: 1.0 is 1, and an unknown text stays, for `encode` to refuse."""
    import pandas as pd

    known = {value: value for value in column.categories if value is not None}
    by_text = {str(value): value for value in known}
    plain = []
    for value, gone in zip(values.tolist(), values.isna(), strict=True):
        plain.append(None if gone else known.get(value, by_text.get(str(value), value)))
    return pd.Series(plain, index=values.index, dtype=object)
