"""The mu-law: levels of sound that lie the closer the softer it is, as the ear hears."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def compress(wave: Tensor, levels: int) -> Tensor:
    """[-1, 1] -> [-1, 1]: sign(x) ln(1 + mu |x|) / ln(1 + mu) with mu = levels - 1 (ITU-T G.711 has 255)."""
    mu = levels - 1
    return wave.sign() * torch.log1p(mu * wave.abs()) / math.log1p(mu)


def expand(compressed: Tensor, levels: int) -> Tensor:
    """The inverse of `compress`."""
    mu = levels - 1
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu
