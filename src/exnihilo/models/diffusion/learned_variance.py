"""Diffusion over levels that learns the variance of its steps as well, by the variational bound."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Prediction, Terms
from exnihilo.models.diffusion.bound import level_terms, prior_term
from exnihilo.models.diffusion.discrete import DenoisingDiffusion
from exnihilo.models.diffusion.family import beside
from exnihilo.models.diffusion.predictions import PredictionType
from exnihilo.models.diffusion.samplers import SolverName
from exnihilo.models.diffusion.times import LossAware, Times
from exnihilo.probability.schedules import Levels

#: Weight of the bound beside the squared error (Nichol & Dhariwal, 2021, Eq. 16).
SHARE = 1e-3


class LearnedVariance(DenoisingDiffusion):
    """Minimise E |answer - target|^2 + 0.001 bound(mean held, variance), or the bound itself, in bits per dimension.

    The network makes twice the channels: its answer, and where between its bounds the logarithm of the variance of the
    step lies (-1 to 1, not kept within). Nichol & Dhariwal, 2021, arXiv:2102.09672, Eq. 14-16. The bound is of one
    level of noise for each example; with learned levels its gradient reaches them through x_t.
    """

    solver: SolverName = "ancestral_learned"

    def __init__(
        self,
        network: nn.Module,
        path: Levels,
        prediction: PredictionType,
        times: Times | None = None,
        *,
        hybrid: bool,
        mass: bool,
        **slots: Any,
    ):
        """hybrid: the mean learns by the squared error and the variance by the bound; else both by the bound."""
        super().__init__(network, path, prediction, times, mass=mass, **slots)
        self.hybrid = hybrid

    def loss(self, batch: Batch) -> Terms:
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        noise, times = torch.randn_like(x), self.times(len(x), x.device)
        t = beside(x, times)
        noisy = self.noisy(x, noise, t)
        answer, channel = self.answer(noisy, times, *self.hidden(batch)).chunk(2, dim=1)
        errors = (answer - self.prediction.target(x, noise, self.path, t)).square()
        self.note(times, errors)
        error = errors.mean()
        mean = answer.detach() if self.hybrid else answer
        bits = self._bits(self._read(mean, channel, noisy, t), x, times)
        if self.hybrid:
            return {"squared_error": error, "bound": SHARE * bits}
        return {"squared_error": error.detach(), "bound": bits}

    def _bits(self, prediction: Prediction, x: Tensor, times: Tensor) -> Tensor:
        """The bound in bits per dimension, from one of its T terms for each example."""
        index = (times * self.path.steps).round().long()
        unit = self.path.steps / (x[0].numel() * math.log(2))
        terms = unit * level_terms(prediction, self.path, x, index, self.spec if self.mass else None)
        prior = prior_term(self.path, x) / (x[0].numel() * math.log(2))
        if not isinstance(self.times, LossAware):
            return (terms + prior).mean()
        weight = self.times.weight(index)
        if self.training:
            self.times.record(index, terms.detach())
        return (weight * terms + prior).mean()

    def validate(self, batch: Batch) -> Terms:
        return {"loss": self.loss(batch)["squared_error" if self.hybrid else "bound"].detach()}

    def denoise(
        self, x: Tensor, t: Tensor, *, label: Tensor | None = None, attributes: Tensor | None = None
    ) -> Prediction:
        """The expected data and noise given x at times t [B], and the fraction of the step's log-variance."""
        t = t.to(x)
        answer, channel = self.answer(x, t, label, attributes).chunk(2, dim=1)
        return self._read(answer, channel, x, beside(x, t))

    def _read(self, answer: Tensor, channel: Tensor, x: Tensor, t: Tensor) -> Prediction:
        return self.prediction.read(answer, x, self.path, t)._replace(fraction=(channel + 1) / 2)
