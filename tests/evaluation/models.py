"""Small models with known answers."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Conditions, DataSpec, GenerativeModel, Noise


class Known(GenerativeModel):
    """Copies given examples, with a standard normal density."""

    def __init__(self, spec: DataSpec, points: Tensor, name: str = "known"):
        super().__init__()
        self.spec, self.recipe, self.options = spec, name, {}
        self.register_buffer("points", points)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        place = (noise.uniform(1) * len(self.points)).long()[:, 0]
        return self.points[place]  # type: ignore[index]

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        return -0.5 * flat.square().sum(dim=1) - 0.5 * flat.shape[1] * math.log(2 * math.pi)


class Stepwise(GenerativeModel):
    """Calls its network `steps` times a draw, and sleeps each time."""

    def __init__(self, spec: DataSpec, steps: int, pause: float = 0.0):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "stepwise", {}
        self.net = nn.Sequential(nn.Linear(spec.size, 8), nn.Linear(8, spec.size))
        self.small = nn.Linear(1, 1)
        self.steps, self.pause = steps, pause

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        x = noise.normal(*self.spec.shape)
        self.small(x.flatten(1)[:, :1])
        for _ in range(self.steps):
            time.sleep(self.pause)
            x = x + 0.01 * self.net(x.flatten(1)).view_as(x)
        return x


def vector_spec(size: int = 3) -> DataSpec:
    return DataSpec("vector", (size,))


def image_spec() -> DataSpec:
    return DataSpec("image", (1, 4, 4), levels=256)


def levels(spec: DataSpec, n: int) -> Tensor:
    return spec.from_levels(torch.randint(0, spec.levels, (n, *spec.shape), generator=torch.Generator().manual_seed(0)))
