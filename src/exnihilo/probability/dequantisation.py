"""Noise that turns levels into continuous numbers, learned."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from exnihilo.core import Noise
from exnihilo.probability.bijections import Bijection, Chain
from exnihilo.probability.likelihoods import logistic_draw

BELOW_ONE = 1 - 2.0**-24


class VariationalDequantisation(nn.Module):
    """log P(x) >= E_q[log p(x + step (u - 1/2)) - log q(u | x)],   u = sigmoid(f(e; x)) in [0, 1), e logistic.

    Ho et al., 2019, arXiv:1902.00275, Eq. 6 and section 3.1. bijections: f, of e and x side by side [B, 2 C, ...] ->
    the same shape, leaving x as it is and returning the log-determinant in e. With f the identity u is uniform, so it
    starts as the usual dequantisation and can only gain.
    """

    def __init__(self, bijections: Iterable[Bijection], step: float):
        super().__init__()
        self.bijection, self.step = Chain(bijections), step

    def forward(self, x: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """(x moved within its steps, log q [B] of the moved one in nats); noise: else torch's generator."""
        if noise is None:
            e = torch.rand_like(x).clamp(2.0**-24, BELOW_ONE).logit()
        else:
            e = logistic_draw(torch.zeros_like(x), torch.ones_like(x), noise)
        both, log_det = self.bijection(torch.cat([e, x], dim=1))
        moved = both[:, : x.shape[1]]
        log_base = _log_logistic(e)
        u = moved.sigmoid().clamp(max=BELOW_ONE)
        log_q = log_base - log_det - _log_logistic(moved) - x[0].numel() * math.log(self.step)
        return x + (u - 0.5) * self.step, log_q


def _log_logistic(e: Tensor) -> Tensor:
    """[B] the standard logistic density of all entries, which is also the slope of the sigmoid there."""
    return (logsigmoid(e) + logsigmoid(-e)).flatten(1).sum(dim=1)
