"""The rows that always stand beside the models: real data, noise, independent histograms; and the classical recipes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Batch, Conditions, DataSpec, GenerativeModel, Noise
from exnihilo.evaluation.evaluate import Result, class_values, feature_values, shown_of
from exnihilo.evaluation.memorisation import nearest
from exnihilo.evaluation.modes import mode_values
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.texts import text_values
from exnihilo.evaluation.value import exactly

PSEUDO_COUNT = 0.1  # of every level in every histogram


class UniformNoise(GenerativeModel):
    """p(x) = 1 / volume on the smallest box around the training examples, half a step wider where there are steps.

    The ceiling: rounded, it draws every level equally often, log2(levels) bits per dimension.
    """

    low: Tensor
    high: Tensor

    def __init__(self, spec: DataSpec, train: Batch):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "noise", {}
        low, high = train.x.amin(dim=0), train.x.amax(dim=0)
        if spec.discrete:
            low, high = torch.full_like(low, spec.low), torch.full_like(high, spec.low + spec.step * (spec.levels - 1))
        half = spec.steps(train.x) / 2
        self.register_buffer("low", low - half)
        self.register_buffer("high", high + half)
        if spec.kind == "table" or bool((self.high <= self.low).any()):  # a missing number's filler leaves every box
            self.withdrawn = frozenset({"log_prob", "log_prob_bound", "energy", "score"})

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Uniform in the box."""
        return self.low + (self.high - self.low) * noise.uniform(*self.spec.shape)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B]: minus the logarithm of the volume; minus infinity outside."""
        slack = 1e-4 * (self.high - self.low)
        within = ((x >= self.low - slack) & (x <= self.high + slack)).flatten(1).all(dim=1)
        value = -(self.high - self.low).double().log().sum()
        return torch.where(within, value, -math.inf)


class UniformLevels(GenerativeModel):
    """P(x) = levels^-D: every entry any level, equally often. The ceiling of texts, whose tokens lie in no box."""

    mass = True

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "noise", {}

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Every entry by itself."""
        uniform = noise.uniform(*self.spec.shape, dtype=torch.float64)
        return self.spec.from_levels((uniform * self.spec.levels).long())

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B]: minus D log levels."""
        return torch.full((len(x),), -self.spec.size * math.log(self.spec.levels), dtype=torch.float64)


class Histogram(GenerativeModel):
    """P(x) = prod_d h_d(x_d): every entry drawn from its own histogram of training levels (+ 0.1 each), independently.

    Whatever it cannot beat in bits per dimension has learned no dependence at all - which on data with few levels
    includes most flows, as uniform dequantisation costs them more than they gain.
    """

    mass = True
    logits: Tensor

    def __init__(self, spec: DataSpec, train: Batch):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "histogram", {}
        levels = spec.to_levels(train.x).flatten(1)  # [N, D]
        counts = torch.full((spec.size, spec.levels), PSEUDO_COUNT, dtype=torch.float64)
        counts.scatter_add_(1, levels.T, torch.ones_like(levels.T, dtype=torch.float64))
        self.register_buffer("logits", (counts / counts.sum(dim=1, keepdim=True)).log())

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Every entry by itself, by inverting its distribution function."""
        upper = self.logits.exp().cumsum(dim=1)[:, :-1].contiguous()  # [D, levels - 1]
        uniform = noise.uniform(self.spec.size, dtype=torch.float64)  # [B, D]
        index = torch.searchsorted(upper, uniform.T.contiguous(), right=True).T
        return self.spec.from_levels(index).view(len(noise), *self.spec.shape)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] the exact log-probability of the levels."""
        levels = self.spec.to_levels(x).flatten(1)
        return self.logits.gather(1, levels.T).sum(dim=0)


def real_data(reference: Reference) -> Result:
    """The floor: as many real training examples as samples are drawn, judged as if they were a model's samples.

    Its originality is that of the test examples, which is 1 by definition; training examples would be their own copies.
    """
    values = feature_values(reference.seen, reference)
    index = nearest(reference.place(reference.test.x), reference.train_place)[1]
    values |= class_values(reference.test.x, index, reference)
    values |= mode_values(reference.test.x, reference.data, reference.protocol)
    protocol = f"nearest of {len(reference.train)} training examples in {reference.space} | {reference.protocol}"
    values["distance_ratio"] = exactly(1.0, len(index), f"median distance ratio, {protocol}")
    values["preference_ratio"] = exactly(
        1.0, len(index), f"median of nearest training over nearest unseen example, {protocol}"
    )
    values["closer"] = exactly(0.5, len(index), f"chance to lie closer than fresh data, {protocol}")
    values |= {name: value for name, value in text_values(reference.test.x, reference).items() if name != "in_test"}
    shown = torch.linspace(0, len(index) - 1, min(len(index), shown_of(reference.data.spec))).long()
    return Result("real data", values, [], reference.test.x[shown], reference.train.x[index[shown]])
