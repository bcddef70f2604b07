"""Small changes that turn a classifier's answer: one step, several steps, one noise for all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Unsupported

#: [B, *shape] -> [B, classes] log-probabilities that pass a gradient.
Classify = Callable[[Tensor], Tensor]


def fgsm(
    classify: Classify,
    x: Tensor,
    label: Tensor,
    eps: float | Tensor,
    *,
    targeted: bool = False,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Tensor:
    """x + eps sign(grad_x CE(x, label)), or - where `targeted` - x - eps sign(...), cut to [low, high].

    Goodfellow et al., 2015, arXiv:1412.6572, section 4. label [B]: the true class, or the class aimed at. eps, low and
    high are numbers or tensors [*shape], in model space. An entry without a gradient stays.
    """
    direction = gradient(classify, x, label).sign()
    return _cut(x - eps * direction if targeted else x + eps * direction, low, high)


def iterative(
    classify: Classify,
    x: Tensor,
    label: Tensor,
    eps: float | Tensor,
    *,
    steps: int = 20,
    targeted: bool = False,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Tensor:
    """The basic iterative method: x_k+1 = cut(x_k + a sign(grad CE)), cut to |x_k+1 - x| <= eps and to [low, high].

    Kurakin et al., 2017, arXiv:1607.02533, Eq. 2, and Eq. 3 where `targeted`; a = 2.5 eps / steps, so that the edge
    can be reached and left again.
    """
    pace, adverse = 2.5 * eps / steps, x
    for _ in range(steps):
        direction = gradient(classify, adverse, label).sign()
        moved = adverse - pace * direction if targeted else adverse + pace * direction
        adverse = _cut(torch.minimum(torch.maximum(moved, x - eps), x + eps), low, high)
    return adverse


def universal(
    classify: Classify,
    x: Tensor,
    label: Tensor,
    eps: float | Tensor,
    *,
    steps: int = 100,
    rate: float = 0.1,
    weight: float = 0.01,
    targeted: bool = False,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
) -> Tensor:
    """[*shape] one noise d for all examples: min_d CE(cut(x + d), label) + weight |d|_2, |d| <= eps in every step.

    Where not `targeted`, the cross-entropy is maximised. After Moosavi-Dezfooli et al., 2017, arXiv:1610.08401, by
    Adam; `rate` is in shares of eps. It is to be tried on other examples than those it was made for.
    """
    sign = 1.0 if targeted else -1.0
    share = torch.zeros(x.shape[1:], dtype=x.dtype, device=x.device).requires_grad_()
    mover = torch.optim.Adam([share], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            delta = eps * share
            loss = F.nll_loss(classify(_cut(x + delta, low, high)), label)
            size = (delta.square().sum() + 1e-12).sqrt()
            (share.grad,) = torch.autograd.grad(sign * loss + weight * size, share)
            mover.step()
            with torch.no_grad():
                share.clamp_(-1, 1)
    return (eps * share).detach()


def gradient(classify: Classify, x: Tensor, label: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy at x; Unsupported where none passes."""
    with torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        loss = F.nll_loss(classify(point), label, reduction="sum")
        found = torch.autograd.grad(loss, point, allow_unused=True)[0] if loss.requires_grad else None
    if found is None or not found.any():
        raise Unsupported(
            "No gradient passes this classifier from its answer to the examples, so it gives no direction."
        )
    return found


def _cut(x: Tensor, low: float | Tensor | None, high: float | Tensor | None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, torch.as_tensor(low).to(x))
    return x if high is None else torch.minimum(x, torch.as_tensor(high).to(x))
