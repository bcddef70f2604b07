"""Diffusion of bits: each is forgotten by and by, and a network tells what it was."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, GenerativeModel, Noise, Terms
from exnihilo.models.diffusion.family import beside
from exnihilo.models.diffusion.times import Times, discrete
from exnihilo.probability.divergences import kl_bernoulli
from exnihilo.probability.grids import time_grid

#: How near to 0 and 1 the network may come, so that no bit is impossible.
SURE = 1e-6


class BinomialDiffusion(GenerativeModel):
    """Minimise sum_i KL(q(x_{i-1} | x_i, x) || p(x_{i-1} | x_i)) over bits, in bits per dimension.

    q(x_i = 1 | x) = 1/2 + (x - 1/2) keep_i with keep_i = 1 - i / T: an equal share of what is known goes at every
    level, and at the last nothing is left, so the prior costs nothing. The network tells p(x = 1 | x_i) of each bit;
    that of the bit one level earlier follows by Bayes' rule. At level 1 the term is -log p(x | x_1), the decoder.
    Sohl-Dickstein et al., 2015, arXiv:1503.03585, section 2.4.1 and Table App.1 (binomial).
    """

    mass, takes, batch = True, frozenset({"attributes"}), 48

    def __init__(self, network: nn.Module, levels: int, *, labelled: bool = False):
        """network: (x [B, *shape] of -1 and 1, t [B], label, attributes) -> logits of the bits, shaped as x."""
        super().__init__()
        self.network, self.levels, self.labelled = network, levels, labelled
        self.times: Times = discrete(levels)

    # -- the process ---------------------------------------------------------------------------------------------

    def keep(self, t: Tensor) -> Tensor:
        """Chance that a bit at time t is still the data's own; else it is a coin's."""
        return 1 - t

    def posterior(self, noisy: Tensor, bits: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """q(x_s = 1 | x_t, x) of every bit, s < t, by Bayes' rule; exact at s = 0."""
        kept = self.keep(t) / self.keep(s)  # from s to t
        one = 0.5 + (bits - 0.5) * self.keep(s)  # q(x_s = 1 | x)
        if_one, if_zero = 0.5 + (noisy - 0.5) * kept, 0.5 + (0.5 - noisy) * kept  # q(x_t | x_s = 1), q(x_t | x_s = 0)
        return one * if_one / (one * if_one + (1 - one) * if_zero)

    def step(self, noisy: Tensor, chance: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """p(x_s = 1 | x_t), the bit x being 1 with this chance."""
        one, zero = torch.ones_like(noisy), torch.zeros_like(noisy)
        return chance * self.posterior(noisy, one, s, t) + (1 - chance) * self.posterior(noisy, zero, s, t)

    def chance(self, noisy: Tensor, t: Tensor, asked: Conditions = NOTHING) -> Tensor:
        """p(x = 1 | x_t) of every bit, t [B]."""
        logits: Tensor = self.network(2 * noisy - 1, t, asked.label, asked.attributes)
        return logits.sigmoid().clamp(SURE, 1 - SURE)

    def _terms(self, x: Tensor, level: Tensor, uniform: Tensor, asked: Conditions) -> Tensor:
        """[B] T KL(q || p) in nats at levels i [B] = 1 ... T, x_i drawn by uniform numbers."""
        bits, s, t = self.spec.to_levels(x).to(x), beside(x, (level - 1) / self.levels), beside(x, level / self.levels)
        noisy = (uniform < 0.5 + (bits - 0.5) * self.keep(t)).to(x)
        p = self.step(noisy, self.chance(noisy, level / self.levels, asked), s, t)
        divergence = kl_bernoulli(self.posterior(noisy, bits, s, t), p)
        return self.levels * divergence.flatten(1).sum(dim=1)

    # -- training and the bound ----------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        x, asked = batch.x, Conditions(label=batch.label if self.labelled else None, attributes=batch.attributes)
        level = (self.times(len(x), x.device) * self.levels).round()
        nats = self._terms(x, level, torch.rand_like(x), asked).mean()
        return {"bits_per_dim": nats / (x[0].numel() * math.log(2))}

    def log_prob_bound(
        self,
        x: Tensor,
        *,
        k: int = 16,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """[B] an unbiased estimate of the bound on the mass of the bits, in nats, from k levels of noise.

        More levels make it more exact, not tighter.
        """
        noise, asked = Noise(seed, len(x), device=x.device), Conditions(label=label, attributes=attributes)
        cost = x.new_zeros(len(x))
        for stratum in range(k):
            level = ((stratum + noise.uniform()) / k * self.levels).floor().clamp(max=self.levels - 1) + 1
            cost = cost + self._terms(x, level.to(x), noise.uniform(*x.shape[1:]), asked) / k
        return -cost

    # -- sampling ------------------------------------------------------------------------------------------------

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, steps: Annotated[int, 1, 1000] = 100) -> Tensor:
        """From coins down to bits, in at most as many steps as there are levels."""
        bits = noise.bernoulli(torch.full((len(noise), *self.spec.shape), 0.5, device=noise.device))
        times = time_grid(steps, self.levels)
        for t, s in zip(times[:-1], times[1:], strict=True):
            now, then = bits.new_full((len(bits),), t), bits.new_full((), s)
            bits = noise.bernoulli(self.step(bits, self.chance(bits, now, asked), then, beside(bits, now)))
        return self.spec.from_levels(bits.long())
