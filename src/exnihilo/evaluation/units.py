"""Data as a model sees them: in the standardisation, the categories and the class numbers that it was trained on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch

from exnihilo.core import Batch, Data, DataError, DataSpec
from exnihilo.data import Dataset


def same_units(mine: DataSpec, theirs: DataSpec) -> bool:
    """Whether equal examples are equal tensors under both descriptions, and equal classes equal numbers."""
    classes = not mine.classes or not theirs.classes or mine.class_names == theirs.class_names
    return _values(mine) == _values(theirs) and mine.rate == theirs.rate and classes


def _values(spec: DataSpec) -> tuple[object, ...]:
    """What says which number stands for a raw value: scales and categories, or tokens and their order."""
    return spec.columns, spec.tokens, spec.vocabulary, spec.merges


def in_units_of(spec: DataSpec, data: Data) -> Data:
    """The same examples in the model space of `spec`.

    Every data set is standardised by its own training split, so a number of another set stands for another raw value,
    and figures taken on it would be of nothing. Classes go by their names; those that `spec` lacks become unknown. A
    column, a category or a token that `spec` lacks is a DataError, as is sound of another rate. Masks are left out.
    """
    theirs = data.spec
    if same_units(spec, theirs):
        return data
    if spec.rate != theirs.rate:
        raise DataError(
            f"The model knows sound at {spec.rate:,.0f} samples a second, and these data have {theirs.rate:,.0f}. Load"
            f" them with -d rate={spec.rate:.0f}."
        )
    if not isinstance(data, Dataset):
        raise DataError(
            "The model was trained on data in other units. Load these by load_data, which can convert them."
        )

    def convert(batch: Batch) -> Batch:
        x = batch.x if _values(spec) == _values(theirs) else spec.encode(theirs.decode(batch.x))
        return batch.replace(x=x, label=None if batch.label is None else number[batch.label], mask=None)

    places = [spec.class_names.index(name) if name in spec.class_names else -1 for name in theirs.class_names]
    number = torch.tensor([*places, -1])  # the last one is found by -1, unknown
    both = json.dumps([data.fingerprint, spec.to_json()], sort_keys=True, default=str)
    fingerprint = hashlib.sha256(both.encode()).hexdigest()[:16]
    return replace(data.map(convert), spec=spec, fingerprint=fingerprint)
