"""K-means: the nearest of a few centres."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from exnihilo.core import TrainingError
from exnihilo.models.classical.family import Classical
from exnihilo.models.classical.kernel import squared_distance


class KMeans(Classical):
    """min over centres c_1 ... c_K of  E min_k |x - c_k|^2: a codebook without a network.

    MacQueen, 1967; Lloyd, 1982. The code of x is its cluster as a one-hot vector [K], so that a code is a share of
    every centre and codes between two clusters decode to points between their centres. No density and no samples.
    """

    centres: Tensor

    def __init__(self, size: int, clusters: int):
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, size, dtype=torch.float64))

    def solve(self, x: Tensor) -> None:
        """The best of ten runs of Lloyd's algorithm from k-means++ (scikit-learn's), the largest cluster first."""
        from sklearn.cluster import KMeans as Solver

        clusters = len(self.centres)
        if len(x) < clusters:
            raise TrainingError(f"{len(x)} examples cannot make {clusters} clusters. Use clusters={len(x)}.")
        solver = Solver(clusters, n_init=10, random_state=int(torch.randint(2**31, ())))
        solver.fit(self.flat(x).cpu().numpy())
        sizes = torch.from_numpy(solver.labels_).long().bincount(minlength=clusters)
        order = sizes.argsort(descending=True, stable=True)
        self.centres.copy_(torch.from_numpy(solver.cluster_centers_)[order])

    def cluster(self, x: Tensor) -> Tensor:
        """[B] the number of the nearest centre, 0 the largest cluster of the training data."""
        return squared_distance(self.flat(x), self.centres).argmin(dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """[B, K] one-hot."""
        return one_hot(self.cluster(x), len(self.centres)).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the centres weighted by the code: of a one-hot code its centre."""
        return (z.double() @ self.centres).to(z.dtype).view(len(z), *self.spec.shape)
