"""Train, keep, load and sample a model of handwritten digits: python examples/digits.py [SECONDS]"""

from __future__ import annotations

import sys

import exnihilo as xn
from exnihilo.data.render import picture


def main(seconds: float = 60.0) -> None:
    """From data to pictures."""
    data = xn.load_data("digits")
    model = xn.create("flow_matching", data, seed=0)
    run = xn.train(model, data, seconds=seconds, seed=0, out="runs/example-digits")
    model = xn.load("runs/example-digits")
    picture(model.spec, model.sample(64, seed=0)).save("runs/example-digits.png")
    print(f"{run.status} after {run.record['seconds']:.0f} s: see runs/example-digits.png")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
