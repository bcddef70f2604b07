"""How near restored pictures come to the true ones, and how real they look: the two do not go together.

A mean of all that could be there has the best PSNR and looks like none of it (Blau & Michaeli, 2018,
arXiv:1711.06077), so figures of both sorts stand side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Data, DataSpec
from exnihilo.evaluation.distances import frechet, frechet_interval
from exnihilo.evaluation.extractors import Extractor, choose_extractor
from exnihilo.evaluation.statistics import FeatureStatistics, collect
from exnihilo.evaluation.value import Value

RANGE = 2.0  # from black to white in model space
WINDOW, SPREAD = 11, 1.5  # side and deviation of SSIM's window, in pixels
SEEN = 5000  # training pictures that realism is measured by


def psnr(spec: DataSpec, x: Tensor, truth: Tensor) -> Tensor:
    """[B] 10 log10(range^2 / squared error) in decibels, of each picture [B, C, H, W] in model space by itself.

    Of all entries, also those that were known. Equal pictures count as if one entry were off by one level, or the mean
    over pictures would be infinite.
    """
    error = (x - truth).double().square().flatten(1).mean(dim=1)
    least = (spec.step or RANGE / 255) ** 2 / spec.size
    return 10 * (RANGE**2 / error.clamp_min(least)).log10()


def window_of(spec: DataSpec) -> int:
    """The side of the window for SSIM: 11 pixels, or the largest odd number that the picture holds."""
    side = min(WINDOW, *spec.shape[1:])
    return side - (side + 1) % 2


def ssim(spec: DataSpec, x: Tensor, truth: Tensor) -> Tensor:
    """[B] the structural similarity of pictures [B, C, H, W] in model space, averaged over places and channels.

    (2 m m' + c1) (2 s_xx' + c2) / ((m^2 + m'^2 + c1) (s^2 + s'^2 + c2)), Wang et al., 2004, Eq. 13, with means,
    variances and covariance under a Gaussian window of deviation 1.5, c1 = (0.01 range)^2 and c2 = (0.03 range)^2,
    where the window lies inside. Caution: on pictures below 11 pixels the window is smaller (`window_of`), so their
    figures compare with each other only.
    """
    side = window_of(spec)
    place = torch.arange(side, dtype=torch.float64, device=x.device) - side // 2
    line = torch.exp(-0.5 * (place / SPREAD).square())
    window = torch.outer(line, line) / line.sum() ** 2

    def local(values: Tensor) -> Tensor:
        return F.conv2d(values.flatten(0, 1)[:, None], window[None, None]).view(len(values), -1)

    a, b = x.double(), truth.double()
    mean_a, mean_b = local(a), local(b)
    spread_a, spread_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    both = local(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))).mean(dim=1)


@dataclass(frozen=True)
class Realism:
    """How like training pictures others are, in features, by the measure of what true pictures of a split reach."""

    extractor: Extractor
    real: FeatureStatistics
    floor: float  # of the true pictures

    @classmethod
    def of(cls, data: Data, truth: Tensor, seed: int = 0) -> Realism:
        """By the training split, with the data's default extractor; truth [N, *shape]: as many as will be judged."""
        extractor = choose_extractor(data)
        real = collect([extractor.features(data.split("train").spread(SEEN).x)], seed=seed)
        own = FeatureStatistics.of(extractor.features(truth), seed=seed)
        return cls(extractor, real, max(frechet(real.gaussian, own.gaussian), 1e-12))

    def ratio(self, x: Tensor, protocol: str) -> Value:
        """The Frechet distance of pictures [N, *shape] to the training pictures, over that of the true pictures."""
        own = FeatureStatistics.of(self.extractor.features(x))
        distance = frechet(self.real.gaussian, own.gaussian)
        half = frechet_interval(own.rows, self.real.gaussian)
        about = f"Frechet distance to training pictures over that of the true ones, {self.extractor.identity}"
        value = Value(distance, max(0.0, distance - half), distance + half, own.n, "")
        return value.scaled(1 / self.floor, f"{about} | {protocol}")

    def named(self, x: Tensor) -> Tensor | None:
        """[N] the class that the extractor's classifier names, where it is one."""
        answer = self.extractor.classify(x)
        return None if answer is None else answer.argmax(dim=1)


def mean_value(values: Tensor, protocol: str) -> Value:
    """The mean over examples [N] with its 95 % interval."""
    mean = float(values.double().mean())
    half = 1.96 * float(values.double().std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Value(mean, mean - half, mean + half, len(values), protocol)
