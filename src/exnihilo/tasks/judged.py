"""The answer of a task: one row of figures for the model, and one for each of those it has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, DataSpec, GenerativeModel
from exnihilo.evaluation.coverage import wilson
from exnihilo.evaluation.value import Value


@dataclass
class Judged:
    """Figures by row and column; the rows of the model come first, the baselines after them."""

    title: str
    rows: dict[str, dict[str, Value]]
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, row: str) -> dict[str, Value]:
        return self.rows[row]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = {name: {key: value.to_json() for key, value in row.items()} for name, row in self.rows.items()}
        return {"title": self.title, "rows": rows, "notes": self.notes}


def share_value(right: Tensor, protocol: str, *notes: str) -> Value:
    """The share of True among [..., N], averaged over draws if there are several, with its 95 % interval.

    Wilson's interval of N examples at the mean share, widened by the standard error of the mean over the draws.
    """
    draws = right.double().reshape(-1, right.shape[-1]).mean(dim=1)  # [M]
    n, mean = right.shape[-1], float(draws.mean())
    low, high = wilson(mean, n)
    if len(draws) > 1:
        spread = float(draws.std())
        between = 1.96 * spread / math.sqrt(len(draws))
        low, high = mean - math.hypot(mean - low, between), mean + math.hypot(high - mean, between)
        notes = (*notes, f"mean of {len(draws)} draws, standard deviation {spread:.3f}")
    return Value(mean, max(0.0, low), min(1.0, high), n, protocol, notes)


def ratio_value(total: Tensor, count: Tensor, protocol: str, *notes: str) -> Value:
    """sum total / sum count over rows [N], with the 95 % interval of a ratio whose rows are independent."""
    n = len(total)
    mean = float(total.sum() / count.sum())
    half = 1.96 * float((total - mean * count).square().sum().sqrt() / count.sum())
    return Value(mean, max(0.0, mean - half), mean + half, n, protocol, notes)


def device_of(model: GenerativeModel) -> torch.device:
    """Where the model's numbers are."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def fitting(model: GenerativeModel, data: Data) -> Data:
    """The data as the model reads them: other rows of the same columns may have another mean and scale.

    A DataError where they are of another kind or shape, or have other columns, categories, tokens or another rate.
    """
    mine, theirs = model.spec, data.spec
    if _form(mine) != _form(theirs):
        raise DataError(
            f"{model.recipe} was made for {mine.kind} data of shape {mine.shape}; these are {theirs.kind} data of shape"
            f" {theirs.shape}, or of other columns, categories, levels, tokens or rate. Name data that are read as"
            " those of the run."
        )
    if mine.columns == theirs.columns:
        return data

    def read(batch: Batch) -> Batch:
        return batch.replace(x=mine.encode(theirs.decode(batch.x)))

    return data.map(read)


def _form(spec: DataSpec) -> tuple[object, ...]:
    columns = tuple((column.name, column.kind, column.categories, column.missing) for column in spec.columns)
    return spec.kind, spec.shape, spec.levels, columns, spec.tokens, spec.vocabulary, spec.merges, spec.rate
