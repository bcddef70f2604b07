from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import exnihilo.models  # noqa: F401
from exnihilo.data import load_data


def mixed_frame(n: int = 200) -> pd.DataFrame:
    """Columns that tell each other: height and weight go together, the colour tells their sign."""
    rng = np.random.default_rng(0)
    height = rng.normal(size=n)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "height": height,
            "weight": 2 * height + 0.3 * rng.normal(size=n),
            "count": rng.integers(0, 5, size=n),
            "colour": np.where(height > 0, "red", "blue"),
            "species": np.where(height > 0.5, "elm", "oak"),
        }
    )


@pytest.fixture(scope="session")
def table():
    return load_data(mixed_frame(), label="species", drop="id")


@pytest.fixture(scope="session")
def points():
    """Vectors of four numbers with a low-dimensional dependence, and two classes."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(300, 2))
    x = np.concatenate([z, z @ rng.normal(size=(2, 2)) + 0.1 * rng.normal(size=(300, 2))], axis=1)
    return load_data((x, (z[:, 0] > 0).astype(int)))
