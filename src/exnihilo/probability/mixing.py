"""Invertible maps that mix or scale whole dimensions: what stands between couplings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exnihilo.probability.bijections import Bijection


def along(values: Tensor, x: Tensor) -> Tensor:
    """values [C] shaped to go with x [B, C, ...]."""
    return values.view(-1, *[1] * (x.ndim - 2))


def places(x: Tensor) -> int:
    """How many entries of x [B, C, ...] share a channel."""
    return x[0, 0].numel()


class ActNorm(Bijection):
    """u = (x + shift) exp(log_scale), both learned, one of each per entry of dimension 1 (channel, or vector entry).

    Kingma & Dhariwal, 2018, arXiv:1807.03039, section 3.1: the examples it is initialised on leave it with mean 0 and
    variance 1. The log-determinant of a picture is H W sum log_scale.
    """

    def __init__(self, size: int, floor: float = 1e-3):
        super().__init__()
        self.floor = floor
        self.shift, self.log_scale = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scale = self.log_scale.exp()
        u = torch.addcmul(along(self.shift * scale, x), x, along(scale, x))
        return u, (places(x) * self.log_scale.sum()).expand(len(x))

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return u * along(self.log_scale, u).neg().exp() - along(self.shift, u)

    @torch.no_grad()
    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        each = x.movedim(1, 0).flatten(1)
        self.shift.copy_(-each.mean(dim=1))
        self.log_scale.copy_(-each.std(dim=1, correction=0).clamp(min=self.floor).log())


class InvertibleLinear(Bijection):
    """u = W x along dimension 1, W = P L (U + diag(sign exp(log_diagonal))): of pictures a 1 x 1 convolution.

    Kingma & Dhariwal, 2018, arXiv:1807.03039, Eq. 10-11; of vectors the linear map of arXiv:1906.04032, section 3.1.
    P and the signs are buffers; L has ones on its diagonal, U zeros. W starts as a random rotation or, `rotation`
    False, a random permutation, which keeps data that stand in a box inside it. The log-determinant is
    H W sum log_diagonal.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, size: int, *, rotation: bool = True):
        super().__init__()
        start = torch.linalg.qr(torch.randn(size, size))[0] if rotation else torch.eye(size)[torch.randperm(size)]
        permutation, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        self.register_buffer("order", permutation.argmax(dim=1))  # (P y)_k = y_order[k]
        self.register_buffer("sign", diagonal.sign())
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))

    def factors(self) -> tuple[Tensor, Tensor]:
        """(L, U with its diagonal)."""
        lower = self.lower.tril(-1) + torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        with torch.autocast(x.device.type, enabled=False):  # half precision would round the density
            matrix = (lower @ upper)[self.order]
            u = (matrix @ x.flatten(2)).view_as(x) if x.ndim > 2 else x @ matrix.T
        return u, (places(x) * self.log_diagonal.sum()).expand(len(x))

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        lower, upper = self.factors()
        y = u.flatten(2) if u.ndim > 2 else u[:, :, None]
        y = y.index_select(1, self.order.argsort())
        with torch.autocast(u.device.type, enabled=False):
            y = torch.linalg.solve_triangular(lower, y, upper=False, unitriangular=True)
            return torch.linalg.solve_triangular(upper, y, upper=True).view_as(u)


class Whitening(InvertibleLinear):
    """The linear map of vectors that at the start makes what it is initialised on uncorrelated, of variance 1.

    W = C^-1 with C C^T the covariance (Cholesky): lower triangular, so L and U are at hand. Of N examples with D
    entries the covariances count N / (N + D), lest chance be taken for a law; variances count fully.
    """

    def __init__(self, size: int):
        super().__init__(size, rotation=False)

    @torch.no_grad()
    def initialise(self, x: Tensor, vector: Tensor | None = None) -> None:
        count, size = x.shape
        spread = x.double() - x.double().mean(dim=0)
        covariance = spread.T @ spread / count
        covariance = torch.lerp(covariance.diagonal().diag(), covariance, count / (count + size))
        eye = torch.eye(size, dtype=torch.float64, device=x.device)
        matrix = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False)
        diagonal = matrix.diagonal()
        self.order.copy_(torch.arange(size))
        self.sign.fill_(1.0)
        self.log_diagonal.copy_(diagonal.log())
        self.lower.copy_((matrix / diagonal).tril(-1))
        self.upper.zero_()
