"""Classes by name: any column of values becomes numbers 0 ... K - 1 and their names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, listing

MOST_CLASSES = 1000


class Labels(NamedTuple):
    """The class of every example, -1 where it is unknown, and the names of the classes."""

    values: Tensor  # [N] int64
    names: tuple[str, ...]


def read_labels(values: Sequence[Any] | np.ndarray, where: str, notes: list[str]) -> Labels:
    """Names in order (numbers as numbers); None, NaN and "" are unknown, and so is -1 beside two or more classes >= 0.

    One class only, more than a thousand, or about as many as examples is a DataError that names `where`.
    """
    plain = [_plain(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    known = {value for value in plain if value is not None}
    numbers = all(isinstance(value, int | float) for value in known)
    if numbers and len(known) > 2 and min(known) == -1:
        known.discard(-1)
        notes.append(f"{where}: -1 was taken as unknown, not as a class.")
    if len(known) < 2:
        only = f"only one class, {next(iter(known))!r}" if known else "no known class"
        raise DataError(f"{where} holds {only}: there is nothing to tell apart. Leave it out with -d label=none.")
    if len(known) > min(MOST_CLASSES, len(plain) // 2):
        raise DataError(
            f"{where} holds {len(known)} different values in {len(plain)} examples (such as"
            f" {listing(list(known)[:3])}): these are no classes. Leave it out with -d label=none."
        )
    names = sorted(known, key=_in_order)
    place = {name: number for number, name in enumerate(names)}
    index = torch.tensor([place.get(value, -1) for value in plain])
    return Labels(index, tuple(str(name) for name in names))


def _in_order(name: Any) -> tuple[float, str]:
    """Numbers, also as text, by size; then words."""
    text = str(name)
    return (float(text) if text.lstrip("-").isdecimal() or isinstance(name, int | float) else float("inf"), text)


def _plain(value: Any) -> Any:
    """Python's own number or text; whole floats as integers; None for what is unknown."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if value is None or value != value or value == "":
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float | str) else str(value)
