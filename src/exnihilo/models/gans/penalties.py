"""What is added to the critic's loss to keep it smooth: functions of the critic, the reals and the fakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class Penalty(Protocol):
    """A scalar to be minimised with the critic's loss, its weight inside."""

    @property
    def every(self) -> int:
        """1: part of every update. n: an update of its own in each n-th round, n times as strong (Karras et al., 2020,
        arXiv:1912.04958, Section 3.1), which saves time where the penalty is dear."""
        ...

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor: ...


def squared_gradient(critic: nn.Module, x: Tensor) -> Tensor:
    """[B]: |grad_x s(x)|^2 per example, itself differentiable in the critic's weights.

    Caution: with batch normalisation a score depends on the whole batch, and this is no longer a gradient per example.
    """
    point = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)


@dataclass(frozen=True)
class R1:
    """weight / 2 E |grad s(x)|^2 at the reals: no slope where the game should end.

    Mescheder et al., 2018, arXiv:1801.04406, Eq. 9. Caution: it makes the loss differentiate a gradient, about twice
    the cost of the critic's update; `every` makes up for it.
    """

    weight: float = 10.0
    every: int = 1

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight / 2 * squared_gradient(critic, real).mean()


@dataclass(frozen=True)
class GradientPenalty:
    """weight E (|grad s(u)| - target)^2 at points u = e x + (1 - e) G(z) between reals and fakes, e ~ U(0, 1) each.

    Gulrajani et al., 2017, arXiv:1704.00028, Eq. 3 (target 1): a 1-Lipschitz critic along the way of transport.
    Reals and fakes must be equally many.
    """

    weight: float = 10.0
    target: float = 1.0
    every: int = 1

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
        between = share * real + (1 - share) * fake
        length = (squared_gradient(critic, between) + 1e-12).sqrt()  # [B]; the root has no slope at 0
        return self.weight * (length - self.target).square().mean()
