"""Tables: a DataFrame's columns as numbers, categories, labels and attributes; nothing is dropped unless asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Column, DataError, DataSpec, did_you_mean, listing
from exnihilo.data.attributes import read_attributes
from exnihilo.data.dataset import Dataset, InMemory, assemble
from exnihilo.data.labels import read_labels
from exnihilo.data.splits import deal

MOST_CATEGORIES = 100
FINEST = 2**21  # steps from the mean: beyond that float32 no longer tells neighbours apart
CLASS_WORDS = ("label", "labels", "class", "target", "species", "y", "outcome", "diagnosis", "category", "type")


def table_dataset(
    frame: Any,
    *,
    label: str | None = None,
    drop: str = "",
    attributes: str = "",
    own: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """A table whose every column is modelled, but those named by label, drop and attributes (comma separated)."""
    import pandas as pd

    said, warnings = list(notes), list[str]()
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    if repeated := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise DataError(f"Several columns share a name: {listing(repeated)}. Rename them.")
    dropped, beside = _names(drop, frame, "drop"), _names(attributes, frame, "attributes")
    if label is not None:
        _names(label, frame, "label")
    labels = None if label is None else read_labels(frame[label].astype(object).tolist(), f"Column {label!r}", said)
    facts = read_attributes(frame[beside], said)
    part = deal([f"row {row}" for row in range(len(frame))], None if labels is None else labels.values, own)
    kept = frame.drop(columns=[*dropped, *beside, *([label] if label else [])])
    if kept.shape[1] == 0:
        raise DataError("No column is left to model. Name fewer in drop=, attributes= and label=.")
    reader = _ColumnReader(part.numpy() == 0, said, warnings)
    kept = pd.DataFrame({name: reader.add(kept[name]) for name in kept.columns})
    reader.speak()
    if label is None:
        said.extend(_label_hint(kept, reader.columns))
    spec = DataSpec(
        "table", (reader.width,),
        classes=len(labels.names) if labels else 0, class_names=labels.names if labels else (),
        attributes=facts.attributes, columns=tuple(reader.columns),
    )  # fmt: skip
    return assemble(
        spec, InMemory(spec.encode(kept)), part,
        label=labels.values if labels else None, attributes=facts.values, mask=_observed(spec, kept),
        notes=said, warnings=warnings,
    )  # fmt: skip


def _names(listed: str, frame: Any, option: str) -> list[str]:
    names = [listed] if listed in frame.columns else [name.strip() for name in listed.split(",") if name.strip()]
    for name in names:
        if name not in frame.columns:
            hint = did_you_mean(name, frame.columns)
            raise DataError(f"{option}={name}: there is no such column.{hint} There are: {listing(frame.columns)}.")
    return names


def _observed(spec: DataSpec, frame: Any) -> Tensor | None:
    """[N, size] False over all entries of a missing value; None where none is missing."""
    gone = frame.isna().to_numpy()
    if not gone.any():
        return None
    mask = torch.ones(len(frame), spec.size, dtype=torch.bool)
    for place, column in enumerate(spec.columns):
        mask[:, column.slice] = torch.from_numpy(~gone[:, place])[:, None]
    return mask


def _label_hint(frame: Any, columns: Sequence[Column]) -> list[str]:
    """A column that is the class by its name, or a last one of categories, is left alone; the note says how to ask."""
    for column in columns:
        last = column is columns[-1] and column.kind == "category" and len(columns) > 1
        if (last or column.name.lower() in CLASS_WORDS) and frame[column.name].nunique() <= MOST_CATEGORIES:
            return [
                f"Column {column.name!r} looks like a class; it is modelled like the others. -d label={column.name!r}"
                " would make it the class that models can be asked for."
            ]
    return []


@dataclass
class _ColumnReader:
    """Turns one column after the other into a `Column` and its values; collects what to say about them."""

    training: np.ndarray  # [N] bool
    notes: list[str]
    warnings: list[str]
    columns: list[Column] = field(default_factory=list)
    width: int = 0
    constant: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def add(self, values: Any) -> Any:
        """The column with values as `encode` takes them."""
        import pandas as pd

        name = str(values.name)
        if values.isna().all():
            raise DataError(f"Column {name!r} is empty. Leave it out with -d drop={name}.")
        if missing := int(values.isna().sum()):
            self.gaps.append(f"{name} ({missing})")
        if pd.api.types.is_bool_dtype(values.dtype):
            return self._category(values.astype(object))
        if not pd.api.types.is_numeric_dtype(values.dtype):
            dates = read_dates(values)
            if dates is None:
                return self._category(values.astype(object))
            self.notes.append(f"Column {name!r} holds dates: taken as days since 1970-01-01.")
            return self._number(pd.Series(dates, name=name), date=True)
        return self._number(pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), name=name))

    def _number(self, values: Any, *, date: bool = False) -> Any:
        import pandas as pd

        name, numbers = str(values.name), values.to_numpy()
        if np.isinf(numbers).any():
            row = int(np.isinf(numbers).argmax())
            raise DataError(f"Column {name!r}, row {row}: {numbers[row]} is not a finite number (rows count from 0).")
        present = numbers[np.isfinite(numbers)]
        whole = bool((present == np.round(present)).all())
        distinct = np.unique(present)
        if not date and (len(distinct) == 1 or (len(distinct) == 2 and whole)):
            if len(distinct) == 2:
                self.notes.append(f"Column {name!r} holds two numbers only: taken as two categories.")
            kind = int if whole else float  # a number that never changes has no scale: a category of its own
            return self._category(pd.Series([None if n != n else kind(n) for n in numbers], name=name, dtype=object))
        if whole and len(distinct) == len(numbers) and _like_an_id(name, distinct):
            self.warnings.append(
                f"Column {name!r} looks like an id or a row number, from which nothing can be learnt. -d drop={name!r}"
            )
        step = float(np.gcd.reduce(present.astype(np.int64))) if whole and np.abs(present).max() < 2**53 else 0.0
        if step and np.abs(present - present.mean()).max() / step > FINEST:
            step = 0.0
        seen = numbers[self.training & np.isfinite(numbers)]
        scale = float(seen.std()) if len(seen) and np.ptp(seen) > 0 else 1.0
        if len(distinct) == 1:
            self.constant.append(name)
            step = 1.0  # of a date, whose greatest common divisor is itself
        missing = len(present) < len(numbers)
        self._place(
            Column(
                name, "number", self.width, 1 + missing, float(seen.mean()) if len(seen) else float(present.mean()),
                scale, step, missing=missing, date=date,
            )
        )  # fmt: skip
        return values

    def _category(self, values: Any) -> Any:
        import pandas as pd

        name = str(values.name)
        own = [value.item() if isinstance(value, np.generic) else value for value in values.tolist()]
        plain = [None if gone else value for value, gone in zip(own, values.isna(), strict=True)]
        values = pd.Series(plain, name=name, dtype=object)
        odd = next((value for value in plain if not isinstance(value, str | int | float | None)), None)
        if odd is not None:
            raise DataError(
                f"Column {name!r} holds values of type {type(odd).__name__}; numbers, texts and dates are read."
                f" Leave it out with -d drop={name}."
            )
        distinct = sorted({value for value in plain if value is not None}, key=str)
        if all(isinstance(value, str) for value in distinct):
            self._refuse_text(name, values, distinct)
        missing = bool(values.isna().any())
        categories = (*distinct, None) if missing else tuple(distinct)
        if len(distinct) == 1:
            self.constant.append(name)
        self._place(Column(name, "category", self.width, len(categories), categories=categories))
        return values

    def _refuse_text(self, name: str, values: Any, distinct: list[str]) -> None:
        import pandas as pd

        if len(distinct) <= min(MOST_CATEGORIES, max(len(values) // 2, 2)):
            return
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = numbers.isna() & values.notna()
        if wrong.mean() < 0.1:
            row = int(wrong.to_numpy().argmax())
            raise DataError(
                f"Column {name!r}, row {row}: {values.iloc[row]!r} is not a number, though nearly all others are"
                f" (rows count from 0). Correct it, leave the field empty, or use -d drop={name}."
            )
        what = "every row has its own, like a name or an id" if len(distinct) == values.notna().sum() else "free text?"
        raise DataError(
            f"Column {name!r} holds {len(distinct)} different texts in {len(values)} rows ({what}); at most"
            f" {MOST_CATEGORIES} categories, each in two rows on average, can be learnt. Leave it out with"
            f" -d drop={name}."
        )

    def _place(self, column: Column) -> None:
        self.columns.append(column)
        self.width += column.width

    def speak(self) -> None:
        """Add what concerns several columns to the notes."""
        if self.constant:
            self.warnings.append(f"These columns never change: {listing(self.constant)}. -d drop= leaves them out.")
        if self.gaps:
            self.notes.append(f"Missing values, which are modelled too: {listing(self.gaps)}.")


def _like_an_id(name: str, distinct: np.ndarray) -> bool:
    counting = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1
    return counting or name.lower() == "id" or name.lower().endswith(("_id", " id"))


def read_dates(values: Any) -> np.ndarray | None:
    """Days since 1970 where all texts are dates in ISO order (2024-05-17, 2024/05/17 13:00), else None."""
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        texts = values.dropna().astype(str)
        if not texts.str.match(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?$").all():
            return None
        values = pd.to_datetime(values.astype(object), errors="coerce", format="mixed")
        if values.isna().sum() > len(values) - len(texts):
            return None
    values = values.dt.tz_localize(None)
    return np.asarray((values - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1), dtype=np.float64)
