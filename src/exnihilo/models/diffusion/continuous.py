"""Diffusion in continuous time: an exact density by the probability-flow ODE."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, Terms
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.predictions import PredictionType
from exnihilo.models.diffusion.times import Times
from exnihilo.probability.flow_ode import flow_log_prob
from exnihilo.probability.paths import Path

#: Kutta steps of the density, four evaluations each; entries up to which the divergence is exact.
DENSITY_STEPS, EXACT = 24, 16


class ContinuousDiffusion(Diffusion):
    """Diffusion on a path in continuous time, whose ODE gives the density of every example.

    density: whether discrete data are spread over their steps in training, as a density over them needs; else the model
    learns levels as they stand, which makes the best samples, and states a density of continuous data only.
    """

    def __init__(
        self, network: nn.Module, path: Path, prediction: PredictionType, times: Times, *, density: bool, **slots: Any
    ):
        """slots: as of `Diffusion`."""
        super().__init__(network, path, prediction, times, **slots)
        self.density = density
        if not density:
            self.withdrawn |= {"log_prob", "log_prob_bound", "energy"}

    def loss(self, batch: Batch) -> Terms:
        if self.density:
            batch = batch.replace(x=self.spec.dequantise(batch.x)[0])
        return super().loss(batch)

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] log p(x) by the ODE from the data to the noise, in nats (Song et al., 2021, arXiv:2011.13456, Eq. 39).

        24 steps of Kutta's method. The divergence is exact for up to 16 entries; beyond, an unbiased estimate with one
        vector of signs, the same for every x and call.
        """
        self.require("log_prob")
        probes = 0 if x[0].numel() <= EXACT else 1
        denoise = self.denoiser(Conditions(label=label), threshold="none")
        return flow_log_prob(denoise, self.path, x, steps=DENSITY_STEPS, probes=probes)
