"""A figure with what is needed to trust it: its interval, how many examples it rests on, and how it was taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exnihilo.core import ExnihiloError


class ProtocolMismatch(ExnihiloError):
    """Two figures were taken in different ways, so putting them side by side would say nothing."""


@dataclass(frozen=True)
class Value:
    """A figure, its 95 % interval and its protocol: extractor and its hash, preprocessing, split and counts.

    Figures of different protocols refuse to be compared. The interval covers the drawing of samples (or of test
    examples), never the luck of one training run: another seed of the training may fall outside it.
    """

    value: float
    low: float
    high: float
    n: int  # examples it rests on
    protocol: str
    notes: tuple[str, ...] = ()

    def differs_from(self, other: Value) -> bool:
        """Whether the difference is larger than chance: than the root of both half-widths squared, as for two
        independent figures. Raises ProtocolMismatch where the protocols differ."""
        if self.protocol != other.protocol:
            raise ProtocolMismatch(
                f"These figures cannot be compared: one is {self.protocol!r}, the other {other.protocol!r}."
                " Evaluate both models on the same data, split, extractor and number of samples."
            )
        below, above = (self, other) if self.value <= other.value else (other, self)
        return above.value - below.value > math.hypot(below.high - below.value, above.value - above.low)

    def scaled(self, factor: float, protocol: str) -> Value:
        """The same figure in another unit (or over a constant), under its own protocol."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Value(self.value * factor, low, high, self.n, protocol, self.notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite become text, which JSON can hold."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        plain: dict[str, Any] = {
            key: number if math.isfinite(number) else str(number) for key, number in numbers.items()
        }
        return {**plain, "n": self.n, "protocol": self.protocol, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Value:
        """The inverse of `to_json`."""
        value, low, high = (float(record[key]) for key in ("value", "low", "high"))
        return cls(value, low, high, int(record["n"]), str(record["protocol"]), tuple(record["notes"]))


def exactly(value: float, n: int, protocol: str, *notes: str) -> Value:
    """A figure without sampling error, such as a count: its interval is a point."""
    return Value(float(value), float(value), float(value), n, protocol, notes)


def statistically_best(values: Mapping[str, Value], *, smaller: bool) -> list[str]:
    """The names that no other beats beyond its interval: the best one and all that it cannot be told from.

    One name means a clear winner; several mean that the figures cannot tell. Values that are not finite never win.
    """
    finite = {name: value for name, value in values.items() if math.isfinite(value.value)}
    if not finite:
        return []
    sign = 1 if smaller else -1
    leader = min(finite, key=lambda name: sign * finite[name].value)
    return [name for name, value in finite.items() if name == leader or not value.differs_from(finite[leader])]
