"""The report of a comparison: report.json for programs, report.html for people, pictures beside them."""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from exnihilo.evaluation import memorisation, pictures
from exnihilo.evaluation.advice import FEW, advise
from exnihilo.evaluation.evaluate import digest
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.rows import Column, Row, short, used_columns, winners
from exnihilo.evaluation.value import Value
from exnihilo.training.folder import write_atomic

FORMAT = 1
TEMPLATE = Path(__file__).parent / "templates" / "report.html"


@dataclass
class Report:
    """All rows of a comparison and what they rest on; `write` makes the files, `text` the terminal's version."""

    rows: list[Row]
    reference: Reference
    budget: dict[str, Any]
    command: str
    stopped: bool = False
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M"))

    @cached_property
    def advice(self) -> str:
        """One sentence: which model suits the data and why, or that the figures cannot tell."""
        return advise(self.rows, len(self.reference.test))

    @cached_property
    def ordered(self) -> list[Row]:
        """Real data, fitted models from the nearest to the farthest, copiers, rows without a distance, noise."""

        def rank(row: Row) -> tuple[int, float]:
            ratio = row.value("ratio")
            group = {"floor": 0, "ceiling": 5}.get(row.role, 1)
            if group == 1:
                group = 4 if row.error else 3 if ratio is None else 1 if row.ranked else 2
            return group, ratio.value if ratio else math.inf

        return sorted(self.rows, key=rank)

    @cached_property
    def best(self) -> dict[str, list[str]]:
        """For every column, the rows that no other beats beyond its interval."""
        return {column.key: winners(self.rows, column) for column in used_columns(self.rows)}

    @cached_property
    def caveats(self) -> list[str]:
        """What a reader must know before believing the table; from the data, the runs and the figures."""
        reference, spec = self.reference, self.reference.data.spec
        lines = [
            "Intervals are of 95 % and cover the drawing of samples, not the luck of a training run: another --seed may"
            " fall outside them. Differences within chance are ties.",
            f"Distances are in the features of {reference.extractor.name}, not of Inception: they are no FID and cannot"
            " be compared with published ones, nor with other data, splits or numbers of samples.",
            f"The floor, {short(reference.floor)}, is the distance between {reference.seen.n} and {reference.real.n}"
            f" real examples; for Gaussian features {short(reference.bias)} would be expected of two such samples.",
        ]
        if len(reference.test) < FEW:
            lines.append(
                f"Only {len(reference.test)} test examples: intervals are wide and small differences mean nothing."
            )
        if spec.discrete and any(row.value("bits_per_dim") for row in self.rows):
            lines.append(
                "Bits per dimension marked ≤ are bounds. Densities over continuous values pay for uniform"
                " dequantisation, so on data with few levels a histogram of each entry by itself can beat them: read"
                " them against the histogram row, not against models of the levels."
            )
        lines += getattr(reference.data, "warnings", [])
        for row in self.rows:
            notes = (row.result.notes if row.result else []) + row.warnings
            lines += [f"{row.name}: {note}" for note in notes]
            if row.error:
                lines.append(f"{row.name} failed: {row.error}")
        if self.stopped:
            lines.append("The comparison was stopped by hand; the same command goes on.")
        return lines

    @cached_property
    def machine(self) -> str:
        """Processor, cores, threads and library versions."""
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
        return (
            f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) for judging,"
            f" Python {platform.python_version()}, torch {torch.__version__}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values with a digest, by which the table can be checked later."""
        record = {
            "format": FORMAT,
            "advice": self.advice,
            "best": self.best,
            "rows": [row.to_json() for row in self.ordered],
            "data": {name: getattr(self.reference.data, name, None) for name in ("source", "options", "fingerprint")},
            "protocol": self.reference.protocol,
            "floor": self.reference.floor,
            "expected_bias": self.reference.bias,
            "budget": self.budget,
            "caveats": self.caveats,
            "command": self.command,
            "machine": self.machine,
            "date": self.date,
            "finished": not self.stopped,
        }
        return {**record, "digest": digest(record)}

    def text(self) -> str:
        """The table and the advice for a terminal; * marks a clear winner."""
        columns = [column for column in used_columns(self.rows) if column.key not in ("coverage", "confident")]
        lines = [["", *(column.title for column in columns)]]
        for row in self.ordered:
            if row.error:
                lines.append([row.name, "failed"])
                continue
            cells = []
            for column in columns:
                value, best = row.value(column.key), self.best[column.key]
                cells.append(_written(value, column) + ("*" if best == [row.name] else "") if value else "-")
            lines.append([row.name + (" (copies)" if row.result and row.result.copies else ""), *cells])
        widths = [max(len(line[place]) for line in lines if place < len(line)) for place in range(len(lines[0]))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
        ]
        return "\n".join([*table, "", self.advice])

    # -- files ---------------------------------------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        """report.json, report.html (self-contained) and pictures/*.png."""
        images = self._pictures()
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        for name, content in images.items():
            write_atomic(folder / "pictures" / f"{name}.png", content)
        write_atomic(folder / "report.json", json.dumps(self.to_json(), indent=1, default=str).encode())
        write_atomic(folder / "report.html", self.html(images).encode())

    def _pictures(self) -> dict[str, bytes]:
        spec = self.reference.data.spec
        images = {"trilemma": pictures.trilemma(self.rows), "curves": pictures.curves(self.rows)}
        for row in self.ordered:
            if row.result is None:
                continue
            for sheet, make in (
                ("samples", pictures.samples),
                ("neighbours", pictures.neighbours),
                ("way", pictures.way),
            ):
                image = make(spec, row.result)
                images[f"{sheet}-{_file_name(row.name)}"] = None if image is None else pictures.as_png(image)
        return {name: content for name, content in images.items() if content is not None}

    def html(self, images: dict[str, bytes]) -> str:
        """One page that needs nothing else: styles and pictures are inside."""
        import jinja2

        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        inside = {
            name: "data:image/png;base64," + base64.b64encode(content).decode() for name, content in images.items()
        }
        sheets = {
            sheet: [
                (row, inside[f"{sheet}-{_file_name(row.name)}"])
                for row in self.ordered
                if f"{sheet}-{_file_name(row.name)}" in inside
            ]
            for sheet in ("samples", "neighbours", "way")
        }
        if self.reference.data.spec.kind == "text":
            sheets["samples"] = []  # they stand in the page as what they are
        return environment.from_string(TEMPLATE.read_text()).render(
            report=self,
            data=self.reference.data,
            columns=used_columns(self.rows),
            table=[self._line(row) for row in self.ordered],
            images=inside,
            sheets=sheets,
            protocols=self._protocols(),
            passages=[
                (row, pictures.passages(self.reference.data.spec, row.result)) for row in self.ordered if row.result
            ],
            counts={name: len(self.reference.data.split(name)) for name in ("train", "validation", "test")},
            short=short,
            copying=memorisation.COPYING,
        )

    def _line(self, row: Row) -> dict[str, Any]:
        """A row of the table as the template wants it."""
        cells: list[dict[str, Any] | None] = []
        for column in used_columns(self.rows):
            value, best = row.value(column.key), self.best[column.key]
            if value is None:
                cells.append(None)
                continue
            won = row.name in best and len(best) < sum(other.ranked for other in self.rows)
            cells.append(
                {
                    "text": _written(value, column),
                    "interval": _interval(value, column),
                    "mark": "" if not won else "best" if len(best) == 1 else "tied",
                    "bar": _bar(value, self._ratios) if column.key == "ratio" else None,
                    "about": "; ".join([*value.notes, f"n = {value.n}", value.protocol]),
                }
            )
        return {"row": row, "cells": cells, "note": _subtitle(row)}

    @cached_property
    def _ratios(self) -> tuple[float, float]:
        values = [value for row in self.rows if (value := row.value("ratio"))]
        lows = [max(value.low, 0.3) for value in values] or [1.0]
        return min(lows), max([value.high for value in values] or [10.0])

    def _protocols(self) -> list[tuple[str, str]]:
        """How every figure of the table was taken, once."""
        found: dict[str, str] = {}
        for column in used_columns(self.rows):
            for row in self.ordered:
                if (value := row.value(column.key)) and column.title not in found:
                    found[column.title] = f"{column.about}. {value.protocol.split(' | ')[0]}."
        return list(found.items())


def _written(value: Value, column: Column) -> str:
    """The number, after ≤ where it is only bounded from above."""
    bound = any("bound" in note for note in value.notes)
    return ("≤ " if bound else "") + column.write(value.value)


def _interval(value: Value, column: Column) -> str:
    return "" if value.low == value.high else f"{column.write(value.low)}–{column.write(value.high)}"


def _bar(value: Value, limits: tuple[float, float]) -> dict[str, float]:
    """Where the interval lies on the logarithmic scale of all rows, in per cent."""
    low, high = (math.log(limit) for limit in limits)
    span = max(high - low, 1e-9)

    def place(number: float) -> float:
        return 100 * min(max((math.log(max(number, 1e-9)) - low) / span, 0.0), 1.0)

    start, end = place(max(value.low, limits[0])), place(value.high)
    return {"start": round(start, 1), "width": round(max(end - start, 1.0), 1), "at": round(place(value.value), 1)}


def _subtitle(row: Row) -> str:
    """What stands below a name."""
    words = {"floor": "the floor", "ceiling": "the ceiling", "baseline": "baseline", "model": ""}
    parts = [words[row.role], row.family, _trained(row)]
    return " · ".join(part for part in parts if part)


def _trained(row: Row) -> str:
    if row.path is None:
        return ""
    return f"trained {short(row.seconds)} s" if row.rounds else "closed form"


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "=.-_" else "-" for letter in name)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
