"""What is asked of a plain autoencoder's codes besides restoring x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from exnihilo.probability.divergences import kl_bernoulli


class Penalty(Protocol):
    """A term of the loss: of the encoder, the examples x [B, *shape] and their codes [B, latent], a mean over them."""

    coupled: ClassVar[bool]  # compares the examples of a batch: no gradient accumulation

    def __call__(self, encoder: nn.Module, x: Tensor, code: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Sparsity:
    """weight * sum_j KL(B(target) || B(mean_b h_j)): every unit, between 0 and 1, is active for a share of the data.

    Ng, 2011, CS294A lecture notes, section 3. Caution: the mean is over the batch, so batches must be large.
    """

    target: float
    weight: float
    coupled: ClassVar[bool] = True

    def __call__(self, encoder: nn.Module, x: Tensor, code: Tensor) -> Tensor:
        active = code.flatten(1).mean(dim=0).clamp(1e-6, 1 - 1e-6)
        return self.weight * kl_bernoulli(self.target, active).sum()


@dataclass(frozen=True)
class Contraction:
    """weight * E |dh/dx|_F^2: the code moves little when x does (Rifai et al., 2011, ICML, Eq. 4), by differentiation.

    probes: random directions an example (Hutchinson, 1990); 0 = all directions of the code, exactly, at the price of a
    backward pass each.
    """

    weight: float
    probes: int = 0
    coupled: ClassVar[bool] = False

    def __call__(self, encoder: nn.Module, x: Tensor, code: Tensor) -> Tensor:
        return self.weight * squared_jacobian(encoder, x, self.probes).mean()


@dataclass(frozen=True)
class SigmoidContraction:
    """The same penalty of h = sigmoid(W x + b) in closed form: sum_j (h_j (1 - h_j))^2 sum_i W_ji^2.

    Rifai et al., 2011, ICML, Eq. 7: as cheap as the layer itself.
    """

    layer: nn.Linear  # the encoder's own
    weight: float
    coupled: ClassVar[bool] = False

    def __call__(self, encoder: nn.Module, x: Tensor, code: Tensor) -> Tensor:
        slope = code * (1 - code)
        return self.weight * (slope.square() @ self.layer.weight.square().sum(dim=1)).mean()


def squared_jacobian(function: Callable[[Tensor], Tensor], x: Tensor, probes: int = 0) -> Tensor:
    """[B] |d function / dx|_F^2 of every example, differentiable; needs activations whose second derivative is not 0.

    probes: the mean of |J^T v|^2 over as many v of random signs, an unbiased estimate; 0: the sum over all rows of J.
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        value = function(point).flatten(1)
        if probes:
            signs = torch.randint(0, 2, (probes, *value.shape), device=x.device).to(value) * 2 - 1
        else:
            signs = torch.eye(value.shape[1]).to(value)[:, None].expand(-1, len(value), -1)
        total = value.new_zeros(len(value))
        for direction in signs:
            (row,) = torch.autograd.grad(value, point, direction, create_graph=True)
            total = total + row.flatten(1).square().sum(dim=1)
    return total / (probes or 1)


class KeepLargest(nn.Module):
    """The k largest numbers of every code, the others zero: a k-sparse code (Makhzani & Frey, 2014, arXiv:1312.5663).

    Gradients pass through those that are kept.
    """

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, z: Tensor) -> Tensor:
        kept = z.topk(self.k, dim=1)
        return torch.zeros_like(z).scatter(1, kept.indices, kept.values)
