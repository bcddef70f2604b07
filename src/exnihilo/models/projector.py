"""Projection: the code whose decoding comes nearest to an example, found by descent - for any model that decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exnihilo.core import GenerativeModel, Noise, OptionError, Unsupported
from exnihilo.core.noise import hash_key


@dataclass(frozen=True)
class Projection:
    """The best codes found, what they decode to, and how far that is from the examples."""

    codes: Tensor  # [B, ...]
    rebuilt: Tensor  # [B, *shape]
    residual: Tensor  # [B]


@dataclass(frozen=True)
class Projector:
    """min_z  r(x, G(z)) + prior_weight * mean(z^2),  r = `model.residual`, by Adam with its rate falling to 0.

    Creswell & Bharath, 2016, arXiv:1611.05644; Schlegl et al., 2017, arXiv:1703.05921, Eq. 2-5, where r also compares
    features of the critic. It descends from several starts, and the best point of all paths is kept for every example;
    the penalty keeps codes where samples begin. Example i has its own stream of noise (seed, i). Caution: the valley
    is not convex; one start alone often ends in a wrong one.
    """

    steps: int = 300
    rate: float = 0.1
    starts: int = 2
    prior_weight: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.starts < 1 or not self.rate > 0 or not self.prior_weight >= 0:
            raise OptionError(
                f"steps={self.steps}, starts={self.starts}, rate={self.rate}, prior_weight={self.prior_weight} is not"
                " allowed. A projection takes steps and starts from 1, a rate above 0 and a prior_weight from 0."
            )

    def project(self, model: GenerativeModel, x: Tensor, *, start: Tensor | None = None) -> Projection:
        """The codes of x [B, *shape].

        start [B, ...]: codes to begin from, such as the model's own `encode(x)`; the others are drawn, as samples
        begin, where the model draws codes. The model rests: eval mode and no gradient to its
        parameters, both as before afterwards.
        """
        model.require("decode")
        noise = [Noise(hash_key("project", self.seed, k), len(x), device=x.device) for k in range(self.starts)]
        parts = []
        for begin in range(0, len(x), model.chunk):
            part = slice(begin, begin + model.chunk)
            first = None if start is None else start[part]
            parts.append(self._project(model, x[part], first, [stream[part] for stream in noise]))
        return Projection(
            torch.cat([part.codes for part in parts]),
            torch.cat([part.rebuilt for part in parts]),
            torch.cat([part.residual for part in parts]),
        )

    @torch.no_grad()
    def _project(self, model: GenerativeModel, x: Tensor, start: Tensor | None, noise: list[Noise]) -> Projection:
        with resting(model):
            starts = [] if start is None else [start]
            if start is None or model.draws_codes:
                starts += [model.draw_code(stream) for stream in noise[len(starts) :]]
            paths = [self._descend(model, x, begin) for begin in starts]
            codes, costs = torch.stack([path[0] for path in paths]), torch.stack([path[1] for path in paths])
            best = codes[costs.argmin(dim=0), torch.arange(len(x), device=x.device)]
            rebuilt = model.decode(best)
            return Projection(best, rebuilt, model.residual(x, rebuilt))

    @torch.enable_grad()
    def _descend(self, model: GenerativeModel, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """The best codes on the way from one start, and their costs [B]."""
        if not start.is_floating_point():
            raise Unsupported(
                f"The codes of {model.recipe} are whole numbers, and a projection descends along real ones."
            )
        z = start.detach().clone().requires_grad_()
        best, lowest = z.detach().clone(), x.new_full((len(x),), math.inf)
        mover = torch.optim.Adam([z], lr=self.rate)
        for step in range(self.steps + 1):
            residual = model.residual(x, model.decode(z))
            if not residual.requires_grad:
                raise Unsupported(f"No gradient passes {model.recipe} from an example to its code.")
            cost = residual + self.prior_weight * z.square().flatten(1).mean(dim=1)
            better = cost.detach() < lowest
            lowest = torch.where(better, cost.detach(), lowest)
            best[better] = z.detach()[better]
            if step == self.steps:
                break
            (z.grad,) = torch.autograd.grad(cost.sum(), z)
            mover.param_groups[0]["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            mover.step()
        return best, lowest


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in eval mode and its parameters take no gradient; afterwards all is as before."""
    awake = [part for part in module.modules() if part.training]
    moving = [weight for weight in module.parameters() if weight.requires_grad]
    for part in awake:
        part.training = False
    for weight in moving:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for part in awake:
            part.training = True
        for weight in moving:
            weight.requires_grad_(True)
