"""How series repeat themselves: the season of a set of windows."""

from __future__ import annotations

import numpy as np

CLEAR = 0.12  # autocorrelation of the moves from which a season is one
EQUAL = 0.9  # a shorter period with so much of the best one's autocorrelation is the season itself


def find_season(x: np.ndarray, longest: int) -> int | None:
    """The period of windows [N, C, T]: the shortest lag from 2 to `longest` at which they repeat themselves, or None.

    A peak of the autocorrelation of the differences from step to step, pooled over windows and channels, of at least
    0.12 and 90 % of the highest peak.
    """
    moves = np.diff(x, axis=2)
    moves = moves - moves.mean(axis=(0, 2), keepdims=True)
    count = min(longest + 2, moves.shape[2])
    product = np.array([(moves[..., lag:] * moves[..., : moves.shape[2] - lag]).mean() for lag in range(count)])
    r = product / max(product[:1].max(initial=0.0), 1e-12)
    peaks = [lag for lag in range(2, count - 1) if r[lag] > r[lag - 1] and r[lag] >= r[lag + 1] and r[lag] >= CLEAR]
    best = max((r[lag] for lag in peaks), default=0.0)
    return next((lag for lag in peaks if r[lag] >= EQUAL * best), None)
