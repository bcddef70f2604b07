"""Small models that the tests of the contracts are run on."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, DataSpec, GenerativeModel, Noise, Player, Terms

SPEC = DataSpec("vector", (2,), examples=100)
CLASSES = DataSpec(
    "vector", (2,), classes=3, class_names=("ant", "bee", "cat"), class_shares=(0.5, 0.3, 0.2), examples=100
)


class Bell(GenerativeModel):
    """A Gaussian around `mean`, of which only draws and densities are written."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.ones(size))

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, scale: Annotated[float, 0, 10] = 1.0) -> Tensor:
        return self.mean + scale * noise.normal(len(self.mean))

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return -0.5 * ((x - self.mean) ** 2 + math.log(2 * math.pi)).sum(dim=1)


class Bells(Bell):
    """One Gaussian a class, at 0, 1, 2."""

    labelled = True

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        return asked.label[:, None] + 0.0 * noise.normal(2)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        assert label is not None
        return -0.5 * ((x - label[:, None]) ** 2 + math.log(2 * math.pi)).sum(dim=1)


class Coder(GenerativeModel):
    """Halves and doubles: it encodes and decodes, and so reconstructs."""

    def encode(self, x: Tensor) -> Tensor:
        return x / 2

    def decode(self, z: Tensor) -> Tensor:
        return z * 2


class Duel(GenerativeModel):
    """Two players with opposite wishes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 1), nn.Linear(2, 1)

    def one_loss(self, batch: Batch) -> Terms:
        return {"push": self.one(batch.x).mean()}

    def two_loss(self, batch: Batch) -> Terms:
        return {"pull": -self.two(batch.x).mean()}

    def players(self) -> list[Player]:
        return [Player("one", self.one, self.one_loss), Player("two", self.two, self.two_loss)]


def bell(data: DataSpec, *, width: Annotated[int, 1, 64] = 8, kind: Literal["round", "long"] = "round") -> Bell:
    """One Gaussian.

    The second paragraph is no summary.
    """
    return Bell(data.size)


def stamped(model: GenerativeModel, spec: DataSpec = SPEC) -> GenerativeModel:
    """What @recipe does to a model that it built."""
    model.spec, model.recipe, model.options = spec, "test_model", {}
    return model.eval()
