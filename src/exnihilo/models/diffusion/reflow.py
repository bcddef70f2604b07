"""Rectified flow: a flow trained anew on its own pairs of noise and sample, so that its paths become straight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import Batch, Conditions, Data, Noise, Player, Stage, Terms
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.samplers import SolverName
from exnihilo.probability.solvers import Heun, solve

#: Heun steps by which the pairs are made: more accurate than what they are to replace.
PAIR_STEPS = 20
#: Pairs made at once.
AT_ONCE = 256


class RectifiedFlow(ContinuousDiffusion):
    """Two stages: flow matching on data and noise paired at random, then on pairs (z, x) that this flow joins.

    Liu et al., 2022, arXiv:2209.03003, Eq. 1 and Algorithm 1. No transport cost rises by it and paths cross less, so
    that few Euler steps follow them. The pairs are drawn once, when the second stage begins; of labelled data they have
    classes, as often as the data. Caution: the second flow is at best as good as the first one's samples.
    """

    solver: SolverName = "dpmpp_2m"  # the noise of pairs is bound to their data, fresh noise is not
    pair_data: Tensor
    pair_noise: Tensor
    pair_label: Tensor

    def __init__(self, *parts: Any, pairs: int, share: float, **slots: Any):
        """pairs: how many are made; share: of the rounds that the second stage takes; the rest as of the base."""
        super().__init__(*parts, **slots)
        self.pairs, self.share = pairs, share
        shape = self.low.shape
        self.register_buffer("pair_data", torch.zeros(pairs, *shape), persistent=False)
        self.register_buffer("pair_noise", torch.zeros(pairs, *shape), persistent=False)
        self.register_buffer("pair_label", torch.full((pairs,), -1), persistent=False)

    def stages(self) -> Iterable[Stage]:
        first = Stage("flow", self.players, 1 - self.share, enter=self.measure)
        if not self.share:
            return [first]
        again = [Player("model", self, self.straight_loss)]
        return [first, Stage("reflow", lambda: again, self.share, enter=self._make_pairs)]

    @torch.no_grad()
    def _make_pairs(self, data: Data) -> None:
        """z ~ N(0, I) of a seed of its own, and where the first flow leads from it."""
        noise = Noise(0, self.pairs, device=self.low.device)
        if self.labelled:
            shares = torch.tensor(self.spec.class_shares or (1.0,) * self.spec.classes, device=self.low.device)
            self.pair_label.copy_(noise.categorical(shares.log().expand(self.pairs, -1)))
        self.pair_noise.copy_(noise.normal(*self.low.shape))
        times = self.grid(PAIR_STEPS, "heun")
        for start in range(0, self.pairs, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            denoise = self.denoiser(Conditions(label=self.pair_label[part] if self.labelled else None))
            x = solve(Heun(), denoise, self.path, self.pair_noise[part], times, noise[part])
            self.pair_data[part] = x

    def straight_loss(self, batch: Batch) -> Terms:
        """Flow matching between the two ends of the first flow's paths; the data of the batch are not looked at."""
        chosen = torch.randint(self.pairs, (len(batch),), device=self.low.device)
        label = self.pair_label[chosen] if self.labelled else None
        return self.error_between(Batch(self.pair_data[chosen], label), self.pair_noise[chosen])
