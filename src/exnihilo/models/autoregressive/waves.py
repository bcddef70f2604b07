"""Sound, sample by sample."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Noise
from exnihilo.models.autoregressive.sequences import Sequences
from exnihilo.models.autoregressive.tokens import sharpen
from exnihilo.probability.likelihoods import Categorical

COLDEST = 1e-4  # temperature of a mixture, below which its first and last bits would be lost


class Waves(Sequences):
    """The same over levels of sound or over waveforms: probabilities or mixtures, colder if it is asked for."""

    def draw(
        self, noise: Noise, asked: Conditions = NOTHING, *, temperature: Annotated[float, 0.0, 100.0] = 1.0
    ) -> Tensor:
        """Step after step. temperature: below 1 there is less hiss, and less variety."""
        return self._drawn(
            noise,
            asked.label,
            lambda parameters, stream: self.likelihood.draw(self.cool(parameters, temperature), stream),
        )

    def cool(self, parameters: Tensor, temperature: float) -> Tensor:
        """Parameters [n, per_entry] of an entry: logits divided by the temperature, scales multiplied with it."""
        if isinstance(self.likelihood, Categorical):
            return sharpen(parameters, temperature)
        temperature = max(temperature, COLDEST)
        logits, locations, log_scales = parameters.chunk(3, dim=1)
        return torch.cat([logits / temperature, locations, log_scales + math.log(temperature)], dim=1)
