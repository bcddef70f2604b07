"""Diffusion over T levels of noise: ancestral sampling, and a bound on the likelihood with a term for every level."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, Noise, Terms
from exnihilo.models.diffusion.bound import diffusion_bound
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.predictions import PredictionType
from exnihilo.models.diffusion.times import Times, discrete
from exnihilo.probability.schedules import Levels


class DenoisingDiffusion(Diffusion):
    """Diffusion over the T levels of a path, with a bound on the likelihood.

    As in the paper, samples are of the model with the expected data kept in their box; so is the bound on a mass.
    """

    path: Levels

    def __init__(
        self,
        network: nn.Module,
        path: Levels,
        prediction: PredictionType,
        times: Times | None = None,
        *,
        mass: bool,
        **slots: Any,
    ):
        """mass: whether the bound is on the mass of levels; slots: as of `Diffusion`."""
        super().__init__(network, path, prediction, times or discrete(path.steps), **slots)
        self.mass, self.levels = mass, path.steps

    def loss(self, batch: Batch) -> Terms:
        if not self.mass:  # the bound is on a density: discrete columns are spread over their steps
            batch = batch.replace(x=self.spec.dequantise(batch.x)[0])
        return super().loss(batch)

    def log_prob_bound(
        self,
        x: Tensor,
        *,
        k: int = 16,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """[B] an unbiased estimate of the variational bound in nats from k levels of noise (see `diffusion_bound`).

        More levels make it more exact, not tighter. Of the levels of discrete data (`mass`), else of the density.
        """
        asked = Conditions(label=label, attributes=attributes)
        denoise = self.denoiser(asked, threshold="static" if self.mass else "none")
        noise = Noise(seed, len(x), device=x.device)
        return diffusion_bound(denoise, self.path, x, noise, k, self.spec if self.mass else None)
