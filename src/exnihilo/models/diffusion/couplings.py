"""Which noise each example is paired with in training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: data [B, *shape], noise of its shape, label [B] or None -> the noise in the order in which it is paired.
Coupling = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def independent(x: Tensor, noise: Tensor, label: Tensor | None) -> Tensor:
    """As they come."""
    return noise


def transported(x: Tensor, noise: Tensor, label: Tensor | None) -> Tensor:
    """The pairing of the batch with the least sum of squared distances: straighter paths, that cross less.

    Tong et al., 2023, arXiv:2302.00482, Section 3.2; Pooladian et al., 2023, arXiv:2304.14772. Exact optimal transport
    between two equally large samples is an assignment, solved by scipy. Labelled examples are paired within their
    class, else the noise would tell the class and a sample of a class would need its kind of noise. Caution: cubic in
    the batch, and biased by its size.
    """
    from scipy.optimize import linear_sum_assignment

    paired = noise.clone()
    groups = [torch.arange(len(x), device=x.device)] if label is None else [
        (label == c).nonzero()[:, 0] for c in label.unique()
    ]  # fmt: skip
    for group in groups:
        cost = torch.cdist(x[group].flatten(1).double(), noise[group].flatten(1).double()).square()
        order = linear_sum_assignment(cost.cpu().numpy())[1]
        paired[group] = noise[group][torch.as_tensor(order, device=x.device)]
    return paired
