"""What every example is conditioned on: numbers or a picture beside it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Any

from exnihilo.core import DataError
from exnihilo.data.arrays import ArrayKind, array_dataset, finite_numbers
from exnihilo.data.dataset import Dataset


def with_given(data: Dataset, given: Any) -> Dataset:
    """The data with what is given of every example: a number (N,), a vector (N, D) or a picture (N, H, W[, C]).

    It is scaled as examples of its kind are, on the training split; `spec.given` describes it, and a batch holds it
    in model space. A wrong length, missing values or values that are no pictures are a DataError.
    """
    values = finite_numbers(given)
    if len(values) != len(data):
        raise DataError(f"{len(data)} examples but {len(values)} rows of what is given: every example needs its own.")
    if values.ndim == 1:
        values = values[:, None]
    kind: ArrayKind = "vector" if values.ndim == 2 else "image"
    try:
        told = array_dataset(values, kind=kind, own=data.part)
    except DataError as reason:
        raise DataError(f"What is given: {reason}") from None
    content = blake2b((data.fingerprint + told.fingerprint).encode(), digest_size=16).hexdigest()
    what = f"a vector of {told.spec.size}" if kind == "vector" else f"a picture of shape {told.spec.shape}"
    notes = [*data.notes, f"Given beside every example: {what}.", *(f"What is given: {note}" for note in told.notes)]
    spec = replace(data.spec, given=replace(told.spec, examples=0))
    return replace(data, spec=spec, given=told.examples, notes=notes, fingerprint=content)
