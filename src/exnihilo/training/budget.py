"""How long to train: a number of steps, or seconds that are turned into a number of rounds once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from exnihilo.core import OptionError, Stage
from exnihilo.training.state import Place

WARM_UP = 3  # rounds that are not representative: allocation, caches
MEASURED = 0.05  # share of the seconds spent on measuring
MARKS = 0.05  # share kept back for validation and slow moments, at least ...
LOOKS = 50  # ... and for so many even marks, where the first ones show that they cost more ...
MOST_LOOKS = 0.5  # ... up to this share of what is left
FIRST_LOOK = 16  # rounds before the first mark, at least


@dataclass
class Budget:
    """Either `steps` or `seconds`, shared out over the stages that have players."""

    steps: int | None = None
    seconds: float | None = None
    shares: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise OptionError("Give a budget: either steps (updates) or seconds, not both.")
        if self.steps is not None and (self.steps != int(self.steps) or self.steps < 1):
            raise OptionError(f"steps={self.steps} is not allowed. It takes a whole number from 1.")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise OptionError(f"seconds={self.seconds} is not allowed. It takes a number above 0.")

    def allot(self, stages: Sequence[Stage]) -> list[int | None]:
        """Rounds of every stage; None where seconds are still to be measured, 0 without players."""
        shares = [stage.share if list(stage.players()) else 0.0 for stage in stages]
        self.shares = [share / (sum(shares) or 1.0) for share in shares]
        if self.steps is None:
            return [None if share else 0 for share in self.shares]
        ends = [round(self.steps * sum(self.shares[: index + 1])) for index in range(len(stages))]
        return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def allowance(self, stage: int) -> float:
        """Seconds of a stage."""
        assert self.seconds is not None
        return self.seconds * self.shares[stage]

    def measure(self, place: Place) -> None:
        """Fix the stage's number of rounds once enough of them were timed."""
        if place.rounds[place.stage] is not None:
            return
        allowance = self.allowance(place.stage)
        if place.round == WARM_UP:
            place.warm_up = place.stage_seconds
        enough = place.round >= WARM_UP + 2 and place.stage_seconds - place.warm_up >= MEASURED * allowance
        if enough or place.stage_seconds >= 0.5 * allowance:
            timed = max(place.round - WARM_UP, 1)
            each = (place.stage_seconds - (place.warm_up if place.round > WARM_UP else 0.0)) / timed
            left = max(0.0, allowance - place.stage_seconds)
            kept = max(MARKS * allowance, min(LOOKS * place.look, MOST_LOOKS * left))
            place.rounds[place.stage] = place.round + int(max(0.0, left - kept) / each)

    def progress(self, place: Place) -> float:
        """The part of the stage that is done, in [0, 1]; by the clock while its rounds are measured."""
        rounds = place.rounds[place.stage]
        if rounds is None:
            return min(1.0, place.stage_seconds / self.allowance(place.stage))
        return place.round / rounds

    def exceeded(self, place: Place) -> bool:
        """Whether a budget of seconds is overdrawn by a quarter."""
        return self.seconds is not None and place.stage_seconds > 1.25 * self.allowance(place.stage)


def mark_every(rounds: int) -> int:
    """Rounds from one mark of a stage to the next: fifty marks a stage, at least one each 500 rounds."""
    return min(max(1, rounds // LOOKS), 500)


def is_mark(done: int, rounds: int | None) -> bool:
    """Whether so many rounds end in a mark, of a stage of `rounds`; None while a budget of seconds is measured.

    Before the first of the even marks there are some after 16, 32, 64, ... rounds: a little set can be known by heart
    before a fiftieth of the training is over.
    """
    every = math.inf if rounds is None else mark_every(rounds)
    if FIRST_LOOK <= done < every:
        return done.bit_count() == 1
    return rounds is not None and (done >= rounds or done % every == 0)
