"""Diffusion in continuous time by the variational bound alone, its noise schedule learned with it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, DataSpec, Noise, Player, Terms, adam
from exnihilo.models.diffusion.family import Diffusion, beside
from exnihilo.models.diffusion.predictions import PredictionType
from exnihilo.models.diffusion.times import Times
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.divergences import kl_normal
from exnihilo.probability.learned_paths import LearnedSNR
from exnihilo.probability.solvers import Denoise

#: The schedule plays each n-th round: it costs a pass through the network, and little hangs on it.
SCHEDULE_EVERY, SCHEDULE_RATE = 8, 0.02
#: Entries whose reconstruction is looked at in training, where it teaches one number only; levels compared at once.
SEEN, AT_ONCE = 4096, 2**24


class VariationalDiffusion(Diffusion):
    """Minimise prior + diffusion + reconstruction, the bound in continuous time, in bits per dimension:

        KL(q(z_1 | x) || N(0, 1)) + E_t gamma'(t) / 2 |noise - expected noise|^2 - E log p(x | z_0).

    Kingma et al., 2021, arXiv:2107.00630, Eq. 11 and 15. Network and ends of the schedule minimise it; what lies
    between the ends cannot change it, only how much its estimates vary, and minimises that (appendix I.2). Time 0 of
    the paper is `path.least`. Caution: the bound looks at detail that nobody sees, so samples lag behind.
    """

    path: LearnedSNR

    def __init__(
        self,
        network: nn.Module,
        path: LearnedSNR,
        prediction: PredictionType,
        times: Times,
        *,
        mass: bool,
        **slots: Any,
    ):
        """times: uniform on [0, 1); mass: whether the bound is on the mass of levels; slots: as of `Diffusion`."""
        super().__init__(network, path, prediction, times, **slots)
        self.mass = mass

    def players(self) -> Iterable[Player]:
        yield Player("denoiser", nn.ModuleList([self.network, self.path.ends]), self.loss)
        shape = self.path.shape
        yield Player("schedule", shape, self.schedule_loss, every=SCHEDULE_EVERY, optimizer=adam(SCHEDULE_RATE))

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        some = x[: max(1, SEEN // x[0].numel())]
        terms = {
            "prior": self._prior(x),
            "diffusion": self._diffusion_of(x, batch),
            "reconstruction": self._reconstruction(some, torch.randn_like(some)),
        }
        return {name: term.mean() / self._unit for name, term in terms.items()}

    def schedule_loss(self, batch: Batch) -> Terms:
        """The second moment of the estimates, which varies as their variance does: the mean is the same for all."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        return {"second_moment": (self._diffusion_of(x, batch) / self._unit).square().mean()}

    def _diffusion_of(self, x: Tensor, batch: Batch) -> Tensor:
        """[B] one estimate for each example, some of whose conditions are hidden."""
        label, attributes = self.hidden(batch)
        denoise = self.denoiser(Conditions(label=label, attributes=attributes), threshold="none")
        return self._diffusion(denoise, x, self.times(len(x), x.device), torch.randn_like(x))

    @property
    def _unit(self) -> float:
        """Nats in one bit of every entry."""
        return self.spec.size * math.log(2)

    def validate(self, batch: Batch) -> Terms:
        return {"bits_per_dim": torch.stack(list(self.loss(batch).values())).sum().detach()}

    # -- the bound -----------------------------------------------------------------------------------------------

    def log_prob_bound(
        self,
        x: Tensor,
        *,
        k: int = 16,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """[B] an unbiased estimate of the bound in nats from k times, one in each k-th of [0, 1].

        More times make it more exact, not tighter. Of the levels of discrete data (`mass`), else of the density.
        """
        denoise = self.denoiser(Conditions(label=label, attributes=attributes), threshold="none")
        noise = Noise(seed, len(x), device=x.device)
        cost = self._prior(x) + self._reconstruction(x, noise.like(x))
        for stratum in range(k):
            time = (stratum + noise.uniform(dtype=x.dtype)) / k
            cost = cost + self._diffusion(denoise, x, time, noise.like(x)) / k
        return -cost

    def _prior(self, x: Tensor) -> Tensor:
        """[B] KL(q(z_1 | x) || N(0, 1))."""
        gamma = self.path.gamma(x.new_ones(()))[0]
        return kl_normal((-gamma).sigmoid().sqrt() * x, gamma.sigmoid().log()).flatten(1).sum(dim=1)

    def _diffusion(self, denoise: Denoise, x: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """[B] gamma'(t) / 2 |noise - expected noise|^2, time [B] as the paper counts it."""
        t = self.path.least + (1 - self.path.least) * time
        error = (noise - denoise(self.noisy(x, noise, beside(x, t)), t).noise).square().flatten(1).sum(dim=1)
        return (1 - self.path.least) * self.path.gamma(t)[1] / 2 * error

    def _reconstruction(self, x: Tensor, noise: Tensor) -> Tensor:
        """[B] -log p(x | z_0), where p is q(z_0 | x) over its sum, or integral, over x."""
        spread = self.path.gamma(x.new_ones(()) * self.path.least)[0]  # log variance of z_0 / alpha_0
        seen = x + (spread / 2).exp() * noise
        if not self.mass:
            return -normal_log_prob(x, seen, spread).flatten(1).sum(dim=1)
        rows = max(1, AT_ONCE // (x[0].numel() * self.spec.levels))
        parts = zip(x.split(rows), seen.split(rows), strict=True)
        return -torch.cat([levels_log_prob(part, given, spread, self.spec) for part, given in parts])


def levels_log_prob(x: Tensor, seen: Tensor, log_variance: Tensor, spec: DataSpec) -> Tensor:
    """[B] log of exp(-(seen - x)^2 / 2 v) over its sum over all levels in place of x (Kingma et al., 2021, Eq. 8)."""
    levels = spec.from_levels(torch.arange(spec.levels, device=x.device)).to(x)
    logits = -(seen[..., None] - levels).square() / (2 * log_variance.exp())  # [B, *shape, levels]
    chosen = logits.log_softmax(dim=-1).gather(-1, spec.to_levels(x)[..., None])
    return chosen.flatten(1).sum(dim=1)


class FourierFeatures(nn.Module):
    """The network, told sin(2^n pi x) and cos(2^n pi x) beside x: [B, C, ...] -> its input [B, (1 + 2 N) C, ...].

    Kingma et al., 2021, arXiv:2107.00630, appendix C: so it sees on which side of a level an entry lies.
    """

    def __init__(self, network: nn.Module, exponents: tuple[int, ...]):
        super().__init__()
        self.network, self.exponents = network, exponents

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        waves = [wave(2**n * math.pi * x) for n in self.exponents for wave in (torch.sin, torch.cos)]
        answer: Tensor = self.network(torch.cat([x, *waves], dim=1), t, label, attributes)
        return answer
