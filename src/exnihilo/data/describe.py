"""What was understood of a source, what was assumed, and the option that changes it: lines for a person."""

from __future__ import annotations

from pathlib import Path

import torch

from exnihilo.core import Column, DataSpec, listing
from exnihilo.data.dataset import Dataset
from exnihilo.data.render import picture, save_picture

SHOWN = 64


def describe(data: Dataset) -> list[str]:
    """What it is, its splits, classes, columns and attributes; then notes and warnings."""
    spec = data.spec
    lines = [f"{data.source}: {len(data):,} examples of kind {spec.kind}: {_shape(spec)}."]
    counts = ", ".join(f"{count:,} {name}" for name, count in data.counts().items())
    lines.append(f"Splits: {counts} (the same for every seed).")
    if spec.classes:
        lines.append(f"Classes: {_classes(data)}.")
    if spec.kind in ("table", "series"):
        lines += [f"  {_column(column)}" for column in spec.columns]
    for place, fact in enumerate(spec.attributes):
        assert data.attributes is not None
        known = int((~data.attributes[data.places, place].isnan()).sum())
        kinds = f": {listing(fact.categories[:10])}" if fact.categories else ""
        lines.append(f"Attribute {fact.name} ({fact.kind}{kinds}), known of {known:,}.")
    lines += [f"Note: {note}" for note in data.notes]
    lines += [f"Warning: {warning}" for warning in data.warnings]
    return lines


def preview(data: Dataset, path: Path | str) -> Path:
    """A picture of some training examples: up to 2,000 points or rows, 64 of other kinds; gaps of series stay open."""
    train = data.split("train")
    n = 2000 if data.spec.kind in ("vector", "table") else SHOWN
    batch = train.batch(0, min(n, len(train)), seed=0)
    x = batch.x
    if data.spec.kind == "series" and batch.mask is not None:
        x = x.masked_fill(~batch.mask, torch.nan)
    return save_picture(picture(data.spec, x), path, {"source": data.source})


def _shape(spec: DataSpec) -> str:
    if spec.kind == "image":
        channels, height, width = spec.shape
        return f"{width} x {height} pixels, {'grey' if channels == 1 else 'RGB'}, {spec.levels} levels"
    if spec.kind == "table":
        return f"{len(spec.columns)} columns, encoded as {spec.size} numbers"
    if spec.kind == "series":
        return f"{spec.shape[0]} {'channel' if spec.shape[0] == 1 else 'channels'}, {spec.shape[1]:,} steps"
    if spec.kind == "audio":
        values = f"{spec.levels} levels of the mu-law" if spec.levels else "continuous"
        return f"{spec.size:,} samples, {spec.rate:,.0f} a second ({spec.size / spec.rate:.3g} s), {values}"
    if spec.kind == "text":
        return f"{spec.size:,} {'tokens' if spec.tokens == 'bpe' else spec.tokens}, {spec.levels:,} different ones"
    return f"{spec.size} {'zeros and ones' if spec.levels == 2 else 'numbers'}"


def _classes(data: Dataset) -> str:
    assert data.label is not None
    labels = data.label[data.places]
    counts = torch.bincount(labels[labels >= 0], minlength=data.spec.classes).tolist()
    told = [f"{name} {count:,}" for name, count in zip(data.spec.class_names, counts, strict=True)]
    unknown = int((labels < 0).sum())
    rest = f", and {len(told) - 20} more" if len(told) > 20 else ""
    return listing(told[:20]) + rest + (f"; unknown {unknown:,}" if unknown else "")


def _column(column: Column) -> str:
    if column.kind == "category":
        names = ["missing" if category is None else str(category) for category in column.categories]
        return f"{column.name}: one of {listing(names[:8])}{' ...' if len(names) > 8 else ''}"
    steps = f", in steps of {column.step:g}" if column.step else ""
    gaps = ", may be missing" if column.missing else ""
    return f"{column.name}: a number, {column.mean:.4g} +- {column.scale:.4g}{steps}{gaps}"
