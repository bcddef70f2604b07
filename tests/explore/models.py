"""Models whose codes are known exactly, so that every picture's numbers can be checked."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, DataSpec, GenerativeModel, Noise


class Plain(GenerativeModel):
    """decode(z) = z W with a fixed W [K, D]; encode is its pseudo-inverse."""

    weight: Tensor

    def __init__(self, spec: DataSpec, weight: Tensor):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "plain", {}
        self.register_buffer("weight", weight)

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ torch.linalg.pinv(self.weight)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weight).view(len(z), *self.spec.shape)


class Drawing(GenerativeModel):
    """The same decoder behind N(0, I), without an encoder: what a GAN is afterwards."""

    weight: Tensor

    def __init__(self, spec: DataSpec, weight: Tensor):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "drawing", {}
        self.register_buffer("weight", weight)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weight).view(len(z), *self.spec.shape)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        return noise.normal(len(self.weight))

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        return self.decode(self.draw_code(noise))


IMAGE = DataSpec("image", (1, 4, 4), levels=17, examples=100)
VECTOR = DataSpec("vector", (3,), examples=100)
