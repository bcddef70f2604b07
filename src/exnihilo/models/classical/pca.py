"""Principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.models.classical.family import Classical


class PCA(Classical):
    """min_V E |x - m - V V^T (x - m)|^2 over orthonormal V [D, K]: z = V^T (x - m).

    Pearson, 1901; Hotelling, 1933. It has no density and cannot sample; its codes are not whitened.
    """

    location: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.register_buffer("location", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("components", torch.eye(latent, size, dtype=torch.float64))  # [K, D], rows orthonormal
        self.register_buffer("variances", torch.zeros(latent, dtype=torch.float64))  # explained by each, n - 1 below

    def solve(self, x: Tensor) -> None:
        """The leading directions of the data, each signed so that its largest entry is positive."""
        from sklearn.decomposition import PCA as Solver

        latent = len(self.components)
        solver = Solver(min(latent, len(x)), svd_solver="full").fit(self.flat(x).cpu().numpy())
        found = torch.from_numpy(solver.components_)
        largest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
        self.location.copy_(torch.from_numpy(solver.mean_))
        self.components.zero_()[: len(found)] = (found * largest.sign()).to(self.components)
        self.variances.zero_()[: len(found)] = torch.from_numpy(solver.explained_variance_).to(self.variances)

    def encode(self, x: Tensor) -> Tensor:
        """[B, K] coordinates along the components, the largest variance first."""
        return ((self.flat(x) - self.location) @ self.components.T).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the point of the principal subspace at these coordinates."""
        return (z.double() @ self.components + self.location).to(z.dtype).view(len(z), *self.spec.shape)
