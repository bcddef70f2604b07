"""What a forecaster has to beat: the last value, the last season, and a linear map of the past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUTS = 512  # numbers of the past that the linear map looks at, the latest ones
RIDGES = 10.0 ** np.arange(-4, 3)  # penalties over the number of windows, of which the validation windows choose one
FEWEST = 8  # validation windows to choose and to measure the spread by; with fewer, training windows

#: [N, C, P] of the past -> [N, C, H] the best guess of what follows.
Guess = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PastAndFuture:
    """Windows cut where a forecast begins; gaps of the past hold the last value before them."""

    past: np.ndarray  # [N, C, P]
    future: np.ndarray  # [N, C, H]
    seen: np.ndarray  # [N, C, H] which of the future was observed

    @classmethod
    def of(cls, x: np.ndarray, observed: np.ndarray, horizon: int) -> PastAndFuture:
        """From whole windows [N, C, T]: what stands in a gap knows of what comes after it, so it is replaced."""
        start = x.shape[2] - horizon
        past = carried(x[..., :start], observed[..., :start])
        return cls(past, x[..., start:], observed[..., start:])


def carried(x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """x [..., T] with each gap at the last value observed before it; 0, the training mean, where there is none."""
    place = np.maximum.accumulate(np.where(observed, np.arange(x.shape[-1]), -1), axis=-1)
    return np.where(place >= 0, np.take_along_axis(x, place.clip(0), axis=-1), 0.0)


def naive(horizon: int) -> Guess:
    """The last value, for every step."""
    return lambda past: np.repeat(past[..., -1:], horizon, axis=2)


def seasonal_naive(horizon: int, season: int) -> Guess:
    """The value of the same phase in the last season of the past."""
    return lambda past: past[..., past.shape[2] - season + np.arange(horizon) % season]


def linear(train: PastAndFuture, validation: PastAndFuture) -> Guess:
    """Ridge regression of all future steps and channels on the latest 512 numbers of the past and a constant.

    The penalty is the one whose squared error on the validation windows is least.
    """
    horizon, channels = train.future.shape[2], train.past.shape[1]

    def inputs(past: np.ndarray) -> np.ndarray:
        return np.asarray(past[..., -max(1, INPUTS // channels) :].reshape(len(past), -1))

    x, y = inputs(train.past), train.future.reshape(len(train.past), -1)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean_x).T @ (x - mean_x) / len(x))
    turned = vectors.T @ ((x - mean_x).T @ (y - mean_y)) / len(x)

    def guess(past: np.ndarray, ridge: float) -> np.ndarray:
        weights = vectors @ (turned / (values.clip(0) + ridge)[:, None])
        return ((inputs(past) - mean_x) @ weights + mean_y).reshape(len(past), channels, horizon)

    errors = [_rms(guess(validation.past, ridge), validation).mean() for ridge in RIDGES]
    best = float(RIDGES[int(np.argmin(errors))])
    return lambda past: guess(past, best)


def _rms(guess: np.ndarray, windows: PastAndFuture) -> np.ndarray:
    """[C, H] the root mean square of what a guess [N, C, H] misses, over what was observed."""
    missed = np.where(windows.seen, guess - windows.future, 0.0)
    return np.asarray(np.sqrt((missed**2).sum(axis=0) / windows.seen.sum(axis=0).clip(1)))


def row_draws(
    train: PastAndFuture, validation: PastAndFuture, past: np.ndarray, season: int | None, n: int, seed: int
) -> dict[str, np.ndarray]:
    """Draws [n, B, C, H] of every row for some pasts [B, C, P]: its guess, and Gaussian residuals.

    Their size, for each channel and step, is the root mean square of the row's residuals: on training windows of the
    two that learn nothing there, on validation windows of the linear map.
    """
    horizon = train.future.shape[2]
    held = validation if len(validation.past) >= FEWEST else train
    guesses: dict[str, tuple[Guess, PastAndFuture]] = {"naive": (naive(horizon), train)}
    if season is not None:
        guesses[f"seasonal naive ({season})"] = (seasonal_naive(horizon, season), train)
    guesses["linear"] = (linear(train, held), held)
    random = np.random.default_rng(seed)
    draws = {}
    for name, (guess, measured) in guesses.items():
        spread = _rms(guess(measured.past), measured)
        draws[name] = guess(past) + spread * random.standard_normal((n, *past.shape[:2], horizon))
    return draws
