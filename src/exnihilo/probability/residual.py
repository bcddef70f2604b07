"""x + g(x) with g a contraction: invertible by iteration, its log-determinant a power series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from exnihilo.probability.bijections import Bijection
from exnihilo.probability.jacobians import WHOLE, fixed_signs, jacobian, pullback, signs

PROBES = 4  # of a log-determinant that is too large to compute


def log_det_series(pull: Callable[[Tensor], Tensor], probe: Tensor, weights: Sequence[float]) -> Tensor:
    """[B] sum_k (-1)^(k + 1) weights[k - 1] v^T J^k v / k, v the probe [B, ...] and `pull` answering v -> v^T J.

    With weights of 1 and E[v v^T] = I this is log det(I + J) up to the terms left out (Behrmann et al., 2019,
    arXiv:1811.00995, Eq. 4), and with 1 / P(term k is computed) it is unbiased (Chen et al., 2019, arXiv:1906.02735,
    Eq. 6). Its gradient is that of Eq. 8, sum_k (-1)^k weights[k] v^T J^k dJ v, for which one term is remembered.
    """
    total, series = torch.zeros_like(probe), probe.new_zeros(len(probe))
    with torch.no_grad():
        row = probe
        for k, weight in enumerate(weights, start=1):
            signed = (-1) ** (k + 1) * weight
            total = total + signed * row  # row = v^T J^(k - 1)
            row = pull(row)
            series = series + signed / k * (row * probe).flatten(1).sum(dim=1)
    if not torch.is_grad_enabled():
        return series
    gradient = (pull(total) * probe).flatten(1).sum(dim=1)
    return series + (gradient - gradient.detach())


def roulette(first: int) -> list[float]:
    """Weights of a random number of terms: `first` for certain, then on with every toss of a coin.

    Chen et al., 2019, arXiv:1906.02735, section 3.1. Draws from torch's generator of the processor.
    """
    more = int(torch.empty((), device="cpu").geometric_(0.5))
    return [1.0] * first + [2.0**k for k in range(more)]


class Settling(Protocol):
    """A network that measures its norms once, for many calls."""

    def settled(self) -> Callable[[Tensor], Tensor]: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class Residual(Bijection):
    """u = x + g(x), where g shortens every distance: its network bounds its layers' norms by itself.

    Behrmann et al., 2019, arXiv:1811.00995; Chen et al., 2019, arXiv:1906.02735. In training log det(I + J) is the
    unbiased estimate, one per example. In evaluation it is computed whole for up to WHOLE = 128 entries; beyond, it is
    the mean of a few estimates of `terms` terms with signs that are always the same. The inverse iterates
    x <- u - g(x).
    """

    compilable = False

    def __init__(self, network: Settling, *, first: int = 4, terms: int = 20, iterations: int = 200):
        super().__init__()
        self.network = network
        self.first, self.terms, self.iterations = first, terms, iterations

    def change(self) -> Callable[[Tensor], Tensor]:
        """g, in full precision: half of it would round the density."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, enabled=False):
            settled = self.network.settled()

        def g(x: Tensor) -> Tensor:
            with torch.autocast(device, enabled=False):
                return settled(x)

        return g

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        change = self.change()
        if not self.training and x[0].numel() <= WHOLE:
            rows = jacobian(change, x)
            log_det = torch.linalg.slogdet(rows + torch.eye(rows.shape[1], dtype=x.dtype, device=x.device))[1]
            return x + change(x), log_det
        moved, pull = pullback(change, x)
        if self.training:
            log_det = log_det_series(pull, signs(x), roulette(self.first))
        else:
            estimates = [log_det_series(pull, fixed_signs(x, probe), [1.0] * self.terms) for probe in range(PROBES)]
            log_det = torch.stack(estimates).mean(dim=0)
        return x + moved, log_det

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        change, x, near = self.change(), u, 4 * torch.finfo(u.dtype).eps
        for _ in range(self.iterations):
            before, x = x, u - change(x)
            if (x - before).abs().max() <= near * (1 + u.abs().max()):
                break
        return x
