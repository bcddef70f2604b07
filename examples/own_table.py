"""A table of your own, from a data frame to new rows: python examples/own_table.py"""

from __future__ import annotations

import numpy as np
import pandas as pd

import exnihilo as xn


def measurements(rows: int = 400) -> pd.DataFrame:
    """Trees of two kinds, with heights, diameters, and a diameter missing now and then."""
    random = np.random.default_rng(0)
    kind = random.choice(["oak", "birch"], rows)
    height = random.normal(np.where(kind == "oak", 22.0, 15.0), 3.0)
    diameter = height * random.normal(1.6, 0.2, rows)
    diameter[random.random(rows) < 0.1] = np.nan
    return pd.DataFrame({"kind": kind, "height": height.round(1), "diameter": diameter.round(1)})


def main() -> None:
    """From a table to new rows."""
    data = xn.load_data(measurements())
    print(data, *data.notes, sep="\n")
    model = xn.create("gmm", data, seed=0)
    xn.train(model, data, seconds=10, progress=False)
    print(model.spec.decode(model.sample(10, seed=0)))


if __name__ == "__main__":
    main()
