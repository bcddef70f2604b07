"""The units of vectors and series: every column to mean 0 and standard deviation 1, or two values to 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exnihilo.core import Column, DataError, listing


def number_columns(
    x: np.ndarray, training: np.ndarray, names: Sequence[str], notes: list[str]
) -> tuple[tuple[Column, ...], int]:
    """Columns that standardise x [N, D] by its training rows (bool [N]), and the levels: 2 where it holds two values
    only, else 0. NaN = missing."""
    low, high = np.nanmin(x), np.nanmax(x)
    if low == high:
        raise DataError(f"All entries are {low}: there is nothing to learn.")
    two = bool(((x == low) | (x == high) | np.isnan(x)).all())
    if two:
        mean, scale = np.full(x.shape[1], low, dtype=np.float64), np.full(x.shape[1], float(high) - float(low))
        notes.append(f"Two values only, {low} and {high}: modelled as 0 and 1.")
    else:
        seen = x[training].astype(np.float64)
        mean, scale = np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)
        constant = np.nanmax(seen, axis=0) == np.nanmin(seen, axis=0)
        scale[constant] = 1.0
        if constant.any():
            notes.append(f"These columns never change: {listing(np.array(names)[constant])}.")
    columns = tuple(
        Column(name, "number", place, mean=float(mean[place]), scale=float(scale[place]))
        for place, name in enumerate(names)
    )
    return columns, 2 if two else 0
