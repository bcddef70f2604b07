"""How far a denoiser is off, measured while it learns: what the best variance of a random step follows from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exnihilo.core import OptionError
from exnihilo.probability.paths import Path
from exnihilo.probability.variances import Analytic

#: Bins of the share of noise, and examples over which the mean of each looks back.
BINS, HORIZON = 50, 500


class NoiseErrors(nn.Module):
    """Running means of E|noise - expected noise|^2 / D of training examples, by the share of noise.

    They are had for nothing from the loss. The rate falls at the end of a training, so that by then they are those of
    the averaged weights, too.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(BINS))
        self.register_buffer("seen", torch.zeros(BINS))

    @torch.no_grad()
    def record(self, path: Path, t: Tensor, errors: Tensor) -> None:
        """Of examples at times t [B], errors [B]."""
        alpha, sigma = path(t)
        place = (sigma / (alpha + sigma) * BINS).long().clamp(0, BINS - 1)
        count = torch.zeros_like(self.seen).index_add(0, place, torch.ones_like(errors).to(self.seen))
        total = torch.zeros_like(self.mean).index_add(0, place, errors.to(self.mean))
        self.seen.add_(count)
        share = count / self.seen.clamp(max=HORIZON).maximum(count).clamp(min=1)
        self.mean.add_(share * (total / count.clamp(min=1) - self.mean))

    def variance(self, largest: float) -> Analytic:
        """The rule that follows, from the bins that were seen; largest: of a variance of the data."""
        known = self.seen > 0
        if not known.any():
            raise OptionError(
                "solver=ancestral_analytic needs the errors of the expected noise, which are measured in training, and"
                " this model has none. Use solver=ancestral."
            )
        middle = (torch.arange(BINS, device=known.device) + 0.5) / BINS
        return Analytic(middle[known].tolist(), self.mean[known].tolist(), largest)
