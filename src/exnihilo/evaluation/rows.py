"""A row of the comparison, and which figures win a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exnihilo.evaluation.evaluate import Result
from exnihilo.evaluation.value import ProtocolMismatch, Value, statistically_best

Role = Literal["model", "baseline", "floor", "ceiling"]


@dataclass
class Row:
    """One line of the table: a model that was trained, or something to measure it against."""

    name: str
    role: Role = "model"
    result: Result | None = None
    error: str = ""
    deep: bool = False
    family: str = ""
    seconds: float = 0.0  # of training
    rounds: int = 0
    journal: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    path: Path | None = None  # of the run

    @property
    def ranked(self) -> bool:
        """Whether it may win: a fitted model that neither failed nor copies."""
        return self.role in ("model", "baseline") and self.result is not None and not self.result.copies

    def value(self, key: str) -> Value | None:
        """A figure, where there is one."""
        return self.result.get(key) if self.result else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; the journal stays in the run folder."""
        record: dict[str, Any] = {"name": self.name, "role": self.role, "family": self.family, "deep": self.deep}
        if self.error:
            record["error"] = self.error
        if self.path is not None:
            record |= {"run": str(self.path), "training_seconds": self.seconds, "rounds": self.rounds}
        return {**record, "warnings": self.warnings, "result": self.result.to_json() if self.result else None}


@dataclass(frozen=True)
class Column:
    """A figure of the table: how it is called, which end of it is good (None: neither), and decimals (None: as apt)."""

    key: str
    title: str
    smaller: bool | None
    about: str
    decimals: int | None = None

    def write(self, number: float) -> str:
        """A number as this column shows it."""
        return short(number) if self.decimals is None or abs(number) >= 10 else f"{number:.{self.decimals}f}"


COLUMNS = (
    Column("ratio", "Distance to real data", True,
           "Frechet distance over its floor: 1 = as near as real data are to each other"),
    Column("precision", "Precision", False, "share of samples that look like data (fidelity)", 2),
    Column("recall", "Recall", False, "share of data that look like samples (diversity)", 2),
    Column("coverage", "Coverage", False, "share of data with a sample nearby (diversity, robust)", 2),
    Column("distance_ratio", "Originality", None,
           "distance to the nearest training example over that of fresh data: 1 = like fresh data, well below 1 ="
           " copies (then marked) or blurred, above 1 = noisy or novel", 2),
    Column("modes", "Classes", None, "classes reached"),
    Column("modes_covered", "Modes", False, "modes of a toy that hold at least 20 of 2500 samples within 3 deviations"),
    Column("high_quality", "In modes", False, "share of samples within 3 deviations of a mode of a toy", 2),
    Column("conditional_accuracy", "As asked", False, "share of samples named as the class that was asked for", 2),
    Column("confident", "Recognised", None, "share of samples whose class the classifier knows with p > 0.9", 2),
    Column("bits_per_character", "Bits / character", True, "negative log-likelihood of test texts", 2),
    Column("bits_per_byte", "Bits / byte", True, "negative log-likelihood of test texts", 2),
    Column("copied", "Copied", None, "share of long passages that stand in the training text word by word", 2),
    Column("bits_per_dim", "Bits / dim", True, "negative log-likelihood of test examples; bounds are marked", 2),
    Column("nats", "Nats", True, "negative log-likelihood of test examples; bounds are marked", 2),
    Column("reconstruction", "Reconstruction", True, "squared error per entry of coding and decoding test examples"),
    Column("samples_per_second", "Samples / s", False, "drawn on this machine"),
    Column("network_evaluations", "Calls", None, "network evaluations per sample"),
    Column("numbers", "Size", None, "learned numbers"),
)  # fmt: skip


def used_columns(rows: Sequence[Row]) -> list[Column]:
    """Those in which at least one row has a figure; reconstruction where there is a model that can do no more."""
    silent = any(row.value("reconstruction") and not row.value("ratio") for row in rows)
    used = [column for column in COLUMNS if any(row.value(column.key) for row in rows)]
    return [column for column in used if column.key != "reconstruction" or silent]


def winners(rows: Sequence[Row], column: Column) -> list[str]:
    """Rows that no other beats beyond its interval: one = a clear winner, several = they cannot be told apart.

    Empty where the column has no good end, or where figures of different protocols met (told by nobody winning).
    """
    if column.smaller is None:
        return []
    values: Mapping[str, Value] = {row.name: value for row in rows if row.ranked and (value := row.value(column.key))}
    try:
        return statistically_best(values, smaller=column.smaller)
    except ProtocolMismatch:
        return []


def short(number: float) -> str:
    """A number as a person would write it in a table: three digits, thousands as k, millions as M."""
    if number != number:
        return "–"
    if abs(number) == float("inf"):
        return "∞"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{number:.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"
