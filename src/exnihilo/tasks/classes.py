"""Data with some of their classes taken out: what is left is normal, what was taken out is anomalous."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from exnihilo.core import Column, Data, DataError, DataSpec, listing
from exnihilo.data import Dataset
from exnihilo.data.dataset import InMemory


def without_classes(data: Data, names: str | Iterable[str]) -> Dataset:
    """The examples that are of none of the classes, as if the data had never held the others.

    names: one class, several in a text with commas between, or a list. The remaining classes are numbered anew (a
    single one is none: the labels go), and columns are standardised anew, by the remaining training examples. Splits
    stay as they are. DataError for data without labels, an unknown class, or if nothing is left.
    """
    data, held = _chosen(data, names)
    spec = data.spec
    left = [number for number in range(spec.classes) if number not in held]
    kept = _of(data, [*left, -1])
    if not left or not len(kept.rows) or kept.counts()["train"] == 0:  # type: ignore[arg-type]
        raise DataError(f"Without {listing(spec.class_names[number] for number in held)} no training example is left.")
    number = torch.full((spec.classes + 1,), -1)  # the last one is found by -1, unknown
    number[left] = torch.arange(len(left))
    assert data.label is not None
    training = data.part[kept.places] == 0
    label = number[data.label]
    counts = torch.bincount(label[kept.places][training & (label[kept.places] >= 0)], minlength=len(left)).double()
    several = len(left) > 1
    spec = replace(
        spec,
        classes=len(left) if several else 0,
        class_names=tuple(spec.class_names[number] for number in left) if several else (),
        class_shares=tuple((counts / counts.sum()).tolist()) if several else (),
        examples=int(training.sum()),
    )
    taken = ",".join(data.spec.class_names[number] for number in held)
    fingerprint = hashlib.sha256(f"{data.fingerprint} without {taken}".encode()).hexdigest()[:32]
    kept = replace(
        kept, spec=spec, label=label if several else None, fingerprint=fingerprint,
        options=data.options | {"without": taken},
        notes=[*data.notes, f"Examples of these classes were left out: {taken}."],
    )  # fmt: skip
    return _standardised(kept)


def only_classes(data: Data, names: str | Iterable[str]) -> Dataset:
    """The examples of the classes, from all splits; the description stays."""
    data, held = _chosen(data, names)
    return _of(data, held)


def _chosen(data: Data, names: str | Iterable[str]) -> tuple[Dataset, list[int]]:
    """The data with the numbers of the classes named."""
    if not isinstance(data, Dataset) or data.changes:
        raise DataError("Classes are taken out of data as load_data returns them, before any change.")
    if not data.spec.classes or data.label is None:
        raise DataError(
            "These data have no labels, so no class can be told apart. Say where they are, such as -d label=COLUMN."
        )
    if isinstance(names, str):
        names = [names] if names in data.spec.class_names else [name.strip() for name in names.split(",")]
    return data, sorted({data.spec.class_index(str(name)) for name in names})


def _of(data: Dataset, numbers: Sequence[int]) -> Dataset:
    """The examples whose class is one of these."""
    assert data.label is not None
    chosen = torch.isin(data.label[data.places], torch.tensor(numbers)).nonzero()[:, 0]
    return replace(data, rows=data.places[chosen], weights=None)


def _standardised(data: Dataset) -> Dataset:
    """Numbers scaled by the mean and deviation of the training examples that are shown."""
    old = data.spec
    if old.kind not in ("vector", "table") or old.levels or not old.columns:
        return data
    x = data.examples.read(torch.arange(len(data.examples)))
    training = x[data.places[data.part[data.places] == 0]].double()
    spec = replace(old, columns=tuple(_rescaled(old, column, training) for column in old.columns))
    return replace(data, spec=spec, examples=InMemory(spec.encode(old.decode(x))))


def _rescaled(spec: DataSpec, column: Column, training: Tensor) -> Column:
    if column.kind == "category":
        return column
    present = training[:, column.start]
    if column.missing:
        present = present[training[:, column.start + 1] < 0.5]
    if not len(present) or float(present.max() - present.min()) == 0:
        return column
    mean, deviation = float(present.mean()), float(present.std(correction=0))
    scale = deviation * column.scale
    return replace(
        column, mean=column.mean + mean * column.scale, scale=scale if math.isfinite(scale) else column.scale
    )
