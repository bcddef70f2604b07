"""Traces and determinants of Jacobians of networks: exact where they are small, else estimated with random signs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

#: The most entries for which a whole Jacobian is computed: one pass of the network per entry.
WHOLE = 128


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """[B, D, D] dy_i / dx_j of every example of x [B, ...] with D entries, through which gradients pass."""
    directions = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).view(-1, *x.shape[1:])

    def along(direction: Tensor) -> Tensor:
        return jvp(function, (x,), (direction.expand_as(x),))[1]

    return vmap(along)(directions).flatten(2).permute(1, 2, 0)  # [D, B, D] -> [B, D, D]


def pullback(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(y = function(x), v -> v^T dy/dx): the Jacobian from the left, also where gradients are off."""
    tracked = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x if x.requires_grad else x.detach().requires_grad_()
        y = function(point)

    def pull(v: Tensor) -> Tensor:
        return torch.autograd.grad(y, point, v, retain_graph=True, create_graph=torch.is_grad_enabled())[0]

    return (y if tracked else y.detach()), pull


def signs(like: Tensor) -> Tensor:
    """Entries +1 or -1 with equal chance, from torch's generator: E[v^T J v] = tr J with the least variance.

    Hutchinson, 1989.
    """
    return torch.randint_like(like, 2) * 2 - 1


def fixed_signs(like: Tensor, probe: int) -> Tensor:
    """The same signs for every example and at every call, so that an estimate is a function of x alone."""
    generator = torch.Generator().manual_seed(probe)
    return (torch.randint(2, like.shape[1:], generator=generator) * 2 - 1).to(like).expand_as(like).contiguous()
