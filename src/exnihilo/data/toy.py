"""Two-dimensional toys with known answers, in their original units; each a pure function of its options."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from exnihilo.data.arrays import vector_dataset
from exnihilo.data.dataset import Dataset

Count = Annotated[int, 100, 1_000_000]
Spread = Annotated[float, 0.0, 1.0]


def _dataset(points: np.ndarray, mode: np.ndarray | None = None, names: tuple[str, ...] = ()) -> Dataset:
    label = None if mode is None else (np.array(names)[mode] if names else mode)
    return vector_dataset(points, label=label, names=("x", "y"))


RING = np.stack([np.cos(np.arange(8) * (math.pi / 4)), np.sin(np.arange(8) * (math.pi / 4))], 1)
GRID = np.stack([np.arange(25) % 5, np.arange(25) // 5], 1) * 2.0 - 4.0

#: The centres [K, 2] of the sets whose modes are known, each a Gaussian whose deviation is the option `noise`.
CENTRES: dict[str, np.ndarray] = {"ring8": RING, "grid25": GRID}


def ring8(*, n: Count = 10_000, noise: Spread = 0.02, seed: int = 0) -> Dataset:
    """Eight Gaussians of standard deviation `noise` on the unit circle; the label is the Gaussian.

    The test of mode collapse since Metz et al., 2017, arXiv:1611.02163 (there: radius 2, deviation 0.02).
    """
    random = np.random.default_rng(seed)
    mode = random.integers(8, size=n)
    return _dataset(RING[mode] + noise * random.standard_normal((n, 2)), mode)


def grid25(*, n: Count = 10_000, noise: Spread = 0.05, seed: int = 0) -> Dataset:
    """25 Gaussians of standard deviation `noise` on a 5 x 5 grid of spacing 2; the label is the Gaussian.

    As in VEEGAN (Srivastava et al., 2017, arXiv:1705.07761, Section 4.1) but for its deviation.
    """
    random = np.random.default_rng(seed)
    mode = random.integers(25, size=n)
    return _dataset(GRID[mode] + noise * random.standard_normal((n, 2)), mode)


def moons(*, n: Count = 10_000, noise: Spread = 0.05, seed: int = 0) -> Dataset:
    """Two interleaved half circles, as scikit-learn's `make_moons`; the label is the moon, upper or lower."""
    random = np.random.default_rng(seed)
    mode = random.integers(2, size=n)
    angle = math.pi * random.random(n)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    points = np.where(mode[:, None] == 0, upper, lower) + noise * random.standard_normal((n, 2))
    return _dataset(points, mode, ("upper", "lower"))


def spirals(*, n: Count = 10_000, noise: Spread = 0.1, seed: int = 0) -> Dataset:
    """Two spirals of one and a half turns, wound into each other; the label is the arm."""
    random = np.random.default_rng(seed)
    mode = random.integers(2, size=n)
    angle = 3 * math.pi * np.sqrt(random.random(n))  # the root spreads the points evenly along the arm
    sign = np.where(mode == 0, 1.0, -1.0)
    arm = np.stack([-np.cos(angle), np.sin(angle)], 1) * (angle * sign / 3)[:, None]
    return _dataset(arm + noise * random.standard_normal((n, 2)), mode)


def checkerboard(*, n: Count = 10_000, seed: int = 0) -> Dataset:
    """Uniform on the eight dark squares of a 4 x 4 board over [-2, 2] x [-2, 2]; entropy ln 8 nats.

    Sharp edges and density 1/8 inside, 0 outside (Grathwohl et al., 2019, arXiv:1810.01367, Section 4.1).
    """
    random = np.random.default_rng(seed)
    square = random.integers(8, size=n)
    row, pair = square // 2, square % 2
    corner = np.stack([2 * pair + row % 2, row], 1) - 2.0
    return _dataset(corner + random.random((n, 2)))
