"""Score matching: a network learns the slope of the log-density itself, so that no constant is ever needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Stage, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.probability.jacobians import jacobian, pullback, signs
from exnihilo.probability.kernels import Score, annealed_langevin, annealing_rate, per_row

MEASURED = 512  # examples among which the largest distance is sought
PLAIN_RATE = 0.2  # of Langevin steps where there is one level only: 2e-5 / 0.01^2, Song & Ermon, 2019

#: (score, x [B, ...], epsilon ~ N(0, I) shaped as x, sigma [B]) -> [B] the loss at x + sigma epsilon.
Matching = Callable[[Score, Tensor, Tensor, Tensor], Tensor]


def half_square(v: Tensor) -> Tensor:
    """[B] |v|^2 / 2."""
    return 0.5 * v.square().flatten(1).sum(dim=1)


def blurred(x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    """x + sigma epsilon."""
    return x + per_row(sigma, x) * epsilon


def implicit(score: Score, x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    """|s|^2 / 2 + tr grad s, whose mean is that of |s - grad log p|^2 / 2 up to a constant.

    Hyvarinen, 2005, JMLR 6. Caution: the trace takes a pass of the network per entry of x.
    """
    point = blurred(x, epsilon, sigma)
    return half_square(score(point)) + jacobian(score, point).diagonal(dim1=1, dim2=2).sum(dim=1)


def denoising(score: Score, x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    """|s + epsilon / sigma|^2 / 2: to point back to x is, on average, to point along the blurred density's slope.

    Vincent, 2011, Neural Computation 23(7).
    """
    return half_square(score(blurred(x, epsilon, sigma)) + epsilon / per_row(sigma, x))


def sliced(score: Score, x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    """v^T (grad s) v + (v^T s)^2 / 2 along a random direction v; its mean over v is that of `implicit`.

    Song et al., 2019, arXiv:1905.07088; v has signs for entries.
    """
    s, trace, v = _along(score, blurred(x, epsilon, sigma))
    return trace + 0.5 * (v * s).flatten(1).sum(dim=1).square()


def sliced_vr(score: Score, x: Tensor, epsilon: Tensor, sigma: Tensor) -> Tensor:
    """v^T (grad s) v + |s|^2 / 2: sliced, with the mean over v taken where it is known, so that it varies less.

    Song et al., 2019, arXiv:1905.07088 (variance reduction).
    """
    s, trace, _ = _along(score, blurred(x, epsilon, sigma))
    return trace + half_square(s)


def _along(score: Score, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(s, v^T (grad s) v [B], v) at x for random signs v."""
    s, pull = pullback(score, x)
    v = signs(x)
    return s, (pull(v) * v).flatten(1).sum(dim=1), v


class ScoreModel(GenerativeModel):
    """Minimise the mean over levels of E sigma^2 matching(s(., sigma), x, epsilon, sigma).

    Song & Ermon, 2019, arXiv:1907.05600: s(x, sigma) is the score of the data blurred by N(0, sigma^2), on a
    geometric ladder from the largest distance of two examples (Song & Ermon, 2020, arXiv:2006.09011) or
    `largest` down to `smallest`; `levels` = 1: of `smallest` alone, as in score matching before. Whatever the
    `matching`, samples come by annealed Langevin steps. network: (x, t [B]) -> shaped as x, t from 0 at the smallest
    level to 1. It corrects the score of the Gaussian N(m, d^2 I) with the data's mean and scale, which it starts as:

        s(x, sigma) = -(x - m) / (sigma^2 + d^2) + d / (sigma sqrt(sigma^2 + d^2)) network((x - m) / sqrt(...), t).

    Caution: there is neither density nor energy; `score` is of the smallest level.
    """

    mean: Tensor
    scale: Tensor
    sigmas: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        matching: Matching,
        *,
        levels: int = 32,
        smallest: float = 0.01,
        largest: float | None = None,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.network, self.matching = network, matching
        self.smallest, self.largest = smallest, largest
        self.optimizer, self.batch = optimizer, batch
        self.compilable = matching is denoising  # the others differentiate the network within the loss
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("sigmas", torch.zeros(levels))
        self._place(largest or 10 * smallest)

    # -- levels of noise -----------------------------------------------------------------------------------------

    def _place(self, largest: float) -> None:
        """The ladder, falling."""
        first = largest if len(self.sigmas) > 1 else self.smallest
        self.sigmas.copy_(torch.logspace(math.log10(first), math.log10(self.smallest), len(self.sigmas)))

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.settle)]

    @torch.no_grad()
    def settle(self, data: Data) -> None:
        """Mean, scale and, unless it was given, the largest level are those of the data."""
        x = self.spec.dequantise(data.first().x.to(self.mean))[0]
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_((x - self.mean).square().mean().sqrt().clamp(min=1e-3))
        if self.largest is None:
            some = x[torch.randperm(len(x), device=x.device)[:MEASURED]].flatten(1)
            self._place(max(float(torch.cdist(some, some).max()), 10 * self.smallest))

    def score_at(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score of the data blurred by N(0, sigma^2), sigma [B]; shaped as x."""
        first, last = self.sigmas[0].log(), self.sigmas[-1].log()
        t = (sigma.log() - last) / (first - last) if len(self.sigmas) > 1 else torch.zeros_like(sigma)
        s = per_row(sigma, x)
        whole = (s**2 + self.scale**2) ** 0.5
        toward = (x - self.mean) / whole
        return self.scale / (s * whole) * self.network(toward, t) - toward / whole

    # -- learning ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        x = self.spec.dequantise(batch.x)[0]
        sigma = self.sigmas[torch.randint(len(self.sigmas), (len(x),), device=x.device)]
        loss = self.matching(lambda point: self.score_at(point, sigma), x, torch.randn_like(x), sigma)
        return {"matching": (sigma**2 * loss).mean()}

    # -- what it can do ------------------------------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        return self._level_score(x, float(self.sigmas[-1]))

    def _level_score(self, x: Tensor, sigma: float) -> Tensor:
        return self.score_at(x, x.new_full((len(x),), sigma))

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, steps: Annotated[int, 1, 100_000] = 5) -> Tensor:
        """From noise down the ladder by so many Langevin steps at every level, whose length suits their number."""
        return self._descend(noise, steps)

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, steps: int = 5) -> Tensor:
        """Down the ladder with the known entries held (mask True = known), blurred as the level is."""
        check_mask(x, mask)
        return self._descend(Noise(seed, len(x), device=x.device), steps, x, mask)

    def _descend(self, noise: Noise, steps: int, known: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        sigmas = self.sigmas.tolist()
        rate = annealing_rate(sigmas[0] / sigmas[1], steps) if len(sigmas) > 1 else PLAIN_RATE
        spread = float((self.sigmas[0] ** 2 + self.scale**2).sqrt())
        x = self.mean + spread * noise.normal(*self.mean.shape)
        return annealed_langevin(self._level_score, x, sigmas, steps, rate, noise, known=known, mask=mask)
