"""Named facts beside the class - smile, age, hair colour - from further columns of a table or of metadata."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Attribute, listing

MOST_CATEGORIES = 100
YES_NO = {"yes": 1.0, "true": 1.0, "1": 1.0, "no": 0.0, "false": 0.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
SIGNS = {"1": 1.0, "1.0": 1.0, "-1": 0.0, "-1.0": 0.0}


class Attributes(NamedTuple):
    """What the attributes are and their values [N, A], NaN where unknown; None without any."""

    attributes: tuple[Attribute, ...]
    values: Tensor | None


def read_attributes(frame: Any, notes: list[str]) -> Attributes:
    """Every column of a DataFrame as a yes/no fact, one of several, or a standardised number.

    Columns of free text are left out, and the notes say so.
    """
    facts: list[Attribute] = []
    values: list[np.ndarray] = []
    for name in frame.columns:
        read = _read(str(name), frame[name])
        if read is None:
            notes.append(f"Column {name!r} holds {frame[name].nunique()} different texts: left out as an attribute.")
            continue
        facts.append(read[0])
        values.append(read[1])
    if not facts:
        return Attributes((), None)
    notes.append(f"Attributes: {listing(f'{fact.name} ({fact.kind})' for fact in facts)}.")
    return Attributes(tuple(facts), torch.from_numpy(np.stack(values, axis=1).astype(np.float32)))


def _read(name: str, column: Any) -> tuple[Attribute, np.ndarray] | None:
    import pandas as pd

    gone = column.isna().to_numpy()
    words = [str(value).strip().lower() for value in column[~gone]]
    values = np.full(len(column), np.nan)
    for meaning in (YES_NO, SIGNS):
        if words and set(words) <= set(meaning):
            values[~gone] = [meaning[word] for word in words]
            return Attribute(name, "yes/no"), values
    numbers = pd.to_numeric(column[~gone], errors="coerce")
    if words and numbers.notna().all() and np.isfinite(numbers.to_numpy(dtype=np.float64)).all():
        found = numbers.to_numpy(dtype=np.float64)
        mean, scale = float(found.mean()), float(found.std()) or 1.0
        values[~gone] = (found - mean) / scale
        return Attribute(name, "number", mean=mean, scale=scale), values
    texts = [str(value) for value in column[~gone]]
    categories = tuple(sorted(set(texts)))
    if not texts or len(categories) > min(MOST_CATEGORIES, max(len(texts) // 2, 2)):
        return None
    values[~gone] = [categories.index(text) for text in texts]
    return Attribute(name, "category", categories), values
