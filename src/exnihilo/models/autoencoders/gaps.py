"""Which entries of an example a density is of: a table's own gaps are values, hidden entries are nothing."""

from __future__ import annotations

from torch import Tensor

from exnihilo.core import DataSpec


def has_gaps(data: DataSpec) -> bool:
    """Whether values of a table are missing."""
    return any(column.missing or None in column.categories for column in data.columns)


def said(spec: DataSpec, x: Tensor, mask: Tensor | None) -> Tensor | None:
    """What x [B, *shape] says anything of: what the mask holds, and of a table also what x itself says is missing.

    So a model of tables learns that values are missing, and nothing from entries that were hidden from it besides.
    None = everything.
    """
    if mask is None or spec.kind != "table":
        return mask
    mask = mask.clone()
    for column in spec.columns:
        if column.kind == "category" and None in column.categories:
            gone = x[:, column.slice].argmax(dim=1) == column.categories.index(None)
        elif column.missing:
            gone = x[:, column.start + 1] >= 0.5
        else:
            continue
        mask[:, column.slice] |= gone[:, None]
    return mask
