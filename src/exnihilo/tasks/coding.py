"""Asymmetric numeral systems: symbols with known probabilities as one long number, no longer than they deserve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError

BITS = 24  # of a frequency: probabilities are multiples of 2^-24, so the rarest symbol costs 24 bits
TOTAL = 1 << BITS
LOW = 1 << 40  # the state stays in [2^40, 2^72): a loss below 2^-16 of a bit a symbol
WORD = 32
START = 9  # bytes of the state
MOST = 1 << 20  # symbols of an alphabet


def frequencies(p: Tensor) -> Tensor:
    """[n, K] whole numbers of at least 1 that sum to TOTAL, as near to probabilities p [n, K] (float64) as that allows.

    The floor of one costs K / TOTAL of the mass; what rounding leaves over goes to the likeliest.
    """
    counts = (p * (TOTAL - p.shape[1])).floor().long() + 1
    return counts.scatter_add(1, p.argmax(dim=1, keepdim=True), TOTAL - counts.sum(dim=1, keepdim=True))


def encode(starts: Sequence[int], sizes: Sequence[int]) -> bytes:
    """Symbols whose share of TOTAL is [start, start + size), first to last, as bytes.

    The range variant of Duda, 2013, arXiv:1311.2540, Section 3: the state x becomes (x // size) TOTAL + start + x mod
    size. It grows by a factor TOTAL / size, so by -log2 p bits, and whole words leave it where it would be too large.
    Symbols are taken in last to first, so that they come out first to last; no carry ever runs through what is written.
    """
    state, words = LOW, []
    limit = WORD + LOW.bit_length() - 1 - BITS
    for start, size in zip(reversed(starts), reversed(sizes), strict=True):
        if state >= size << limit:
            words.append(state & 0xFFFFFFFF)
            state >>= WORD
        state = (state // size << BITS) + state % size + start
    return state.to_bytes(START, "big") + np.array(words[::-1], dtype=">u4").tobytes()


class Decoder:
    """Takes symbols out again, first to last. Of other shares than theirs it makes other symbols, and never fails."""

    def __init__(self, content: bytes):
        self.state = int.from_bytes(content[:START], "big")
        self.words = np.frombuffer(content[START:], dtype=">u4").tolist()
        self.place = 0

    def take(self, ends: np.ndarray) -> int:
        """The next symbol, of an alphabet whose shares of TOTAL end at `ends` [K], ascending."""
        slot = self.state & (TOTAL - 1)
        symbol = int(np.searchsorted(ends, slot, side="right"))
        start = int(ends[symbol - 1]) if symbol else 0
        self.state = (int(ends[symbol]) - start) * (self.state >> BITS) + slot - start
        if self.state < LOW:
            word = self.words[self.place] if self.place < len(self.words) else 0
            self.state, self.place = self.state << WORD | word, self.place + 1
        return symbol

    @property
    def finished(self) -> bool:
        """Whether all was taken out that was put in: with other shares it hardly ever ends as it began."""
        return self.state == LOW and self.place == len(self.words)


def shares(table: Tensor, chosen: Tensor) -> tuple[list[int], list[int]]:
    """Starts and sizes of the chosen symbols [n] in rows of frequencies [n, K]."""
    ends = table.cumsum(dim=1).gather(1, chosen[:, None])[:, 0]
    sizes = table.gather(1, chosen[:, None])[:, 0]
    return (ends - sizes).tolist(), sizes.tolist()


def check_alphabet(levels: int) -> None:
    """DataError where an alphabet is too large for the frequencies."""
    if levels > MOST:
        raise DataError(f"{levels:,} different values an entry are more than can be coded; {MOST:,} can.")


def ends_of(table: Tensor) -> np.ndarray:
    """[n, K] where the shares of rows of frequencies end, for `Decoder.take`."""
    return np.asarray(torch.cumsum(table, dim=1).numpy())
