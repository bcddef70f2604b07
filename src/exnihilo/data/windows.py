"""Windows of long recordings - texts, sounds, series - and splits that respect files and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from exnihilo.core import DataError
from exnihilo.data.pictures import name_some
from exnihilo.data.splits import FEWEST, PARTS, deal


class Windows:
    """Examples that are parts of one long tensor [..., T]: overlapping ones cost no memory."""

    lazy = False

    def __init__(self, stream: Tensor, starts: Tensor, length: int):
        self.stream, self.starts, self.length = stream.contiguous(), starts, length

    def __len__(self) -> int:
        return len(self.starts)

    def read(self, rows: Tensor) -> Tensor:
        """[len(rows), ..., length], copied."""
        places = self.starts[rows, None] + torch.arange(self.length)
        return self.stream[..., places].movedim(-2, 0).contiguous()

    def prefetch(self, rows: Tensor) -> None:
        """Nothing to do: all is here."""

    def digests(self) -> list[bytes]:
        """Of the values."""
        blocks = torch.arange(len(self)).split(4096)
        return [blake2b(row.tobytes(), digest_size=16).digest() for rows in blocks for row in self.read(rows).numpy()]


class Cut(NamedTuple):
    """Where the windows lie: in recordings laid end to end."""

    starts: Tensor  # [N]
    part: Tensor  # [N] int8: 0 train, 1 validation, 2 test
    recording: Tensor  # [N] its number


def deal_recordings(names: Sequence[str], label: Tensor | None, own: Tensor | None) -> Tensor | None:
    """The split of every recording as a whole; None where there are too few, so that each has to be cut into blocks."""
    if own is not None and set(own.tolist()) == {0, 1, 2}:
        return own.to(torch.int8)
    return deal(names, label, own) if own is not None or len(names) >= FEWEST else None


@dataclass(frozen=True)
class Cutter:
    """Cuts recordings into windows and says what is left over; `what` and `unit` name recordings and their steps.

    Windows begin every `stride` steps; with `apart`, those to validate and test on do not overlap.
    """

    window: int
    stride: int
    what: str
    unit: str
    apart: bool = True

    def cut(self, names: Sequence[str], lengths: Sequence[int], part: Tensor | None, notes: list[str]) -> Cut:
        """All windows, recording by recording. part: see `deal_recordings`.

        Without it each recording is cut into blocks, the first to train, the next to validate and the last to test on,
        with a gap of one window between them. Recordings shorter than a window are counted and listed.
        """
        self._refuse_short(lengths)
        rows: list[Tensor] = []
        held = offset = 0
        for number, length in enumerate(lengths):
            blocks = self.blocks(length) if part is None else [(int(part[number]), 0, length)]
            for kind, first, end in blocks:
                stride = max(self.stride, self.window) if self.apart and kind else self.stride
                begins = torch.arange(first, max(first, end - self.window + 1), stride)
                held += (len(begins) - 1) * min(stride, self.window) + self.window if len(begins) else 0
                rows.append(torch.stack([begins + offset, *(torch.full_like(begins, n) for n in (kind, number))]))
            offset += length
        starts, parts, recording = torch.cat(rows, dim=1)
        self._check(parts, part, max(lengths))
        self._tell(names, lengths, part, 1 - held / offset, notes)
        return Cut(starts, parts.to(torch.int8), recording)

    def blocks(self, length: int) -> list[tuple[int, int, int]]:
        """(part, first, end) of each block of one recording: 72, 8 and 20 % of what the two gaps leave, a window or
        more each; all to train where it is too short for that.

        Two windows to validate on, unless that is over a third of what is left: by one alone, none can be chosen.
        """
        free = length - 2 * self.window
        test = max(self.window, round(0.2 * free))
        validation = max(self.window, round(0.08 * free), min(2 * self.window, (free - test) // 3))
        if free < validation + test + self.window:
            return [(0, 0, length)]
        train = free - validation - test
        return [(0, 0, train), (1, train + self.window, length - test - self.window), (2, length - test, length)]

    def _refuse_short(self, lengths: Sequence[int]) -> None:
        if max(lengths) < self.window:
            shorter = max(lengths) // 20  # twenty windows: some to each split
            how = f"Ask for shorter windows, such as -d window={shorter}" if shorter > 1 else "Bring longer ones"
            raise DataError(
                f"No window of {self.window:,} {self.unit} fits into {self.what} of at most {max(lengths):,}. {how}."
            )

    def _check(self, parts: Tensor, part: Tensor | None, longest: int) -> None:
        for number, name in enumerate(PARTS):
            if not (parts == number).any():
                why = (
                    f"{self.what} of at most {longest:,} {self.unit} are too short for windows of {self.window:,} to"
                    " train, validate and test on, with a window between"
                    if part is None
                    else f"none of the {self.what} in it is as long as a window of {self.window:,} {self.unit}"
                )
                shorter = max(2, longest // 20)
                raise DataError(f"The {name} split is empty: {why}. Ask for shorter ones, such as -d window={shorter}.")
        if len(parts) < FEWEST:
            raise DataError(
                f"{len(parts)} windows of {self.window:,} {self.unit} are too few to train, validate and test on; it"
                f" takes {FEWEST}. Bring more {self.what}, or ask for shorter windows with -d window=."
            )

    def _tell(
        self, names: Sequence[str], lengths: Sequence[int], part: Tensor | None, lost: float, notes: list[str]
    ) -> None:
        overlap = f", beginning every {self.stride:,}" if self.stride != self.window else ""
        where = " in training" if overlap and self.apart else ""
        notes.append(f"Windows of {self.window:,} {self.unit}{overlap}{where} (-d window= and stride= change it).")
        notes.append(
            f"Whole {self.what} went to one split."
            if part is not None
            else "The splits are blocks in order - train, validation, test - with a gap of one window between them."
        )
        if short := [name for name, length in zip(names, lengths, strict=True) if length < self.window]:
            notes.append(f"Shorter than a window, so left out: {len(short)} of {len(names)} ({name_some(short)}).")
        if lost >= 0.001:
            notes.append(f"{lost:.1%} of all {self.unit} stand in no window (ends, gaps and what is too short).")
