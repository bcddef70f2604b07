"""Noise-contrastive estimation: a density, and its constant with it, learned by telling data from noise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Stage, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.classical.mixture import FittedMixture
from exnihilo.probability.chains import LogEstimate, log_mean_exp, run_chain
from exnihilo.probability.kernels import HMC, tuned

LEAPS = 5  # of the Hamiltonian steps that refine samples
PILOTS, SEARCH = 64, 30  # chains and steps that find the length of the leaps


class NoiseContrastive(GenerativeModel):
    """log p(x) = log q(x) - f(x) - c, learned by logistic regression of data against `ratio` times as much noise ~ q:

        min  -E log sigma(G(x)) - ratio E_q log(1 - sigma(G(x))),   G = log p(x) - log q(x) - log ratio.

    Gutmann & Hyvarinen, 2010, AISTATS; 2012, JMLR 13. q is a Gaussian mixture fitted to the
    training data; network f: [B, *shape] -> [B, 1]; the constant c = `log_z` is learned as a parameter, and goes to log
    Z where f can tell the densities' ratio. `energy` is -log p(x) with that constant, so about normalised, not exactly:
    hence there is no `log_prob`. By how much it is not, `log_partition` estimates. Caution: noise unlike the data is
    told from it by little, and then little is learned; the more entries, the harder to come near with q.
    """

    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        reference: FittedMixture,
        *,
        ratio: int = 10,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.network, self.reference, self.ratio = network, reference, ratio
        self.optimizer, self.batch = optimizer, batch
        self.log_z = nn.Parameter(torch.zeros(()))
        self.register_buffer("scale", torch.ones(reference.means.shape[1]))

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.settle)]

    def settle(self, data: Data) -> None:
        """Fit the noise to the dequantised examples."""
        x = self.spec.dequantise(data.first().x.to(self.scale))[0].flatten(1)
        self.reference.fit(x)
        self.scale.copy_(x.std(dim=0, correction=0).clamp(min=1e-3))

    def tilt(self, x: Tensor) -> Tensor:
        """[B] f(x) + c = log q(x) - log p(x)."""
        return self.network(x)[:, 0] + self.log_z

    def contrast(self, noise: Noise) -> Tensor:
        """[len(noise), *shape] from q."""
        return self.reference.density.draw(noise).to(self.scale).view(len(noise), *self.spec.shape)

    def loss(self, batch: Batch) -> Terms:
        x = self.spec.dequantise(batch.x)[0]
        noise = Noise(int(torch.randint(2**62, ())), self.ratio * len(x), device=x.device)
        level = math.log(self.ratio)
        return {
            "data": softplus(self.tilt(x) + level).mean(),
            "noise": self.ratio * softplus(-self.tilt(self.contrast(noise)) - level).mean(),
        }

    # -- what it can do ------------------------------------------------------------------------------------------

    def energy(self, x: Tensor) -> Tensor:
        """[B] -log p(x) in nats, as far as the learned constant normalises it."""
        return self.tilt(x) - self.reference.density.log_prob(x.flatten(1).double()).to(x.dtype)

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        candidates: Annotated[int, 1, 100_000] = 64,
        steps: Annotated[int, 0, 100_000] = 20,
    ) -> Tensor:
        """One of so many draws of q by its weight p / q (importance resampling), then Hamiltonian steps from there.

        Rubin, 1987. The length of the leaps is found by a pilot of other chains, always the same.
        """
        x = self._resampled(noise, candidates)
        if not steps:
            return x
        units = self.scale.view(self.spec.shape)
        first = HMC(lambda state: self.energy(state * units), 0.1, LEAPS)
        pilot = Noise(0, PILOTS, device=noise.device)
        lengths = tuned(first, self._resampled(pilot, candidates) / units, SEARCH, pilot)[1].step
        kernel = replace(first, step=float(torch.as_tensor(lengths).log().mean().exp()))
        return run_chain(kernel, x / units, steps, noise) * units

    def _resampled(self, noise: Noise, candidates: int) -> Tensor:
        """By Gumbel's trick one candidate after the other, so only one of each row is held."""
        best = torch.full((len(noise),), -math.inf, device=noise.device)
        x = torch.zeros(len(noise), *self.spec.shape, device=noise.device)
        for _ in range(candidates):
            candidate = self.contrast(noise)
            uniform = noise.uniform(dtype=torch.float64) + 2.0**-26  # the offset keeps 0 out
            score = -self.tilt(candidate) - (-uniform.log()).log().to(best)
            better = score > best
            best = torch.where(better, score, best)
            x = torch.where(better.view(-1, *[1] * (x.ndim - 1)), candidate, x)
        return x

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, candidates: int = 32) -> Tensor:
        """One of so many draws from the exact conditional of q given the known entries, by its weight p / q."""
        check_mask(x, mask)
        rows, known = (part.repeat_interleave(candidates, dim=0).flatten(1) for part in (x, mask))
        noise = Noise(seed, len(rows), device=x.device)
        drawn = self.reference.density.impute(rows.double(), known, noise).to(x.dtype)
        weights = -self.tilt(drawn.view(-1, *x.shape[1:])).view(len(x), candidates)
        chosen = noise[::candidates].categorical(weights)
        filled = drawn.view(len(x), candidates, -1)[torch.arange(len(x), device=x.device), chosen].view_as(x)
        return torch.where(mask, x, filled)

    @torch.no_grad()
    def log_partition(self, *, draws: int = 10_000, seed: int = 0) -> LogEstimate:
        """log of the integral of exp(-energy(x)), 0 where the learned constant is right: by weights of draws of q."""
        noise = Noise(seed, draws, device=self.scale.device)
        parts = [noise[start : start + self.chunk] for start in range(0, draws, self.chunk)]
        return log_mean_exp(torch.cat([-self.tilt(self.contrast(part)) for part in parts]))
