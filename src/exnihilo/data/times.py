"""The times of a series' rows, where they go on evenly: so that what comes next can be named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

EVEN = 1e-6  # of a step, by which steps of numbers may differ


@dataclass(frozen=True)
class Times:
    """The column `name`, its last row, and the step to the next: a number, or of dates a frequency as pandas has it."""

    name: str
    last: Any
    step: float | str

    @classmethod
    def of(cls, name: str, moments: np.ndarray, dates: bool) -> Times | None:
        """Of rising numbers, or days since 1970; None where they are uneven, so that nobody can tell the next one.

        Months, quarters, years and working days are even steps of dates.
        """
        import pandas as pd

        if len(moments) < 3:
            return None
        if dates:
            index = pd.DatetimeIndex(pd.to_datetime(moments, unit="D").round("ms"))
            frequency = pd.infer_freq(index)
            return None if frequency is None else cls(name, index[-1], frequency)
        steps = np.diff(moments)
        step = float(moments[-1] - moments[0]) / len(steps)
        return cls(name, float(moments[-1]), step) if (np.abs(steps - step) < EVEN * step).all() else None

    def after(self, count: int) -> list[str]:
        """The next `count` times, as they would stand in the file."""
        import pandas as pd

        if isinstance(self.step, str):
            dates = pd.date_range(self.last, periods=count + 1, freq=self.step)[1:]
            days = bool((dates == dates.normalize()).all()) and self.last == self.last.normalize()
            return [date.strftime("%Y-%m-%d") if days else str(date) for date in dates]
        return [f"{self.last + self.step * number:.12g}" for number in range(1, count + 1)]
