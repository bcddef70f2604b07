"""What a model has to beat when it fills gaps: the mean, near rows, and one Gaussian."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 10
BLOCK = 2e7  # numbers in a block of matrices


def mean_fill(train: Tensor, seen: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """x [B, D] with hidden entries at the mean of what is seen of the training rows [N, D]."""
    return torch.where(mask, x, observed_mean(train, seen).to(x))


def observed_mean(train: Tensor, seen: Tensor) -> Tensor:
    """[D] the mean of every entry where it is seen; 0 where it never is."""
    weight = seen.double()
    return (train.double() * weight).sum(dim=0) / weight.sum(dim=0).clamp_min(1)


def neighbour_fill(train: Tensor, seen: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """x [B, D] with hidden entries averaged over the ten training rows nearest in what both show (scikit-learn)."""
    from sklearn.impute import KNNImputer

    solver = KNNImputer(n_neighbors=min(NEIGHBOURS, len(train)), keep_empty_features=True)
    solver.fit(_with_nan(train, seen))
    filled = torch.from_numpy(solver.transform(_with_nan(x, mask))).to(x)
    return torch.where(mask, x, filled)


def _with_nan(x: Tensor, mask: Tensor) -> np.ndarray:
    return torch.where(mask, x.double(), math.nan).numpy()


class Gaussian:
    """N(m, S) of rows of which only some entries are seen, by expectation-maximisation.

    Dempster, Laird & Rubin, 1977; Little & Rubin, 2019, section 11.2. Complete rows are solved in one step. The ridge
    on the diagonal keeps S regular where entries never change: 0.05 D / N of the mean variance.
    """

    def __init__(self, train: Tensor, seen: Tensor, sweeps: int = 50):
        x, seen = train.double(), seen
        self.mean = observed_mean(x, seen)
        spread = torch.where(seen, (x - self.mean).square(), 0.0).sum(dim=0) / seen.sum(dim=0).clamp_min(1)
        self.ridge = max(0.05 * x.shape[1] / len(x), 1e-6) * float(spread.mean().clamp_min(1e-6))
        self.covariance = torch.diag(spread + self.ridge)
        for _ in range(1 if bool(seen.all()) else sweeps):
            self._improve(x, seen)

    def _improve(self, x: Tensor, seen: Tensor) -> None:
        """One round: expected rows and their products given what is seen, then their mean and covariance."""
        total, products = torch.zeros_like(self.mean), torch.zeros_like(self.covariance)
        for rows, known in self._blocks(x, seen):
            filled = self._expected(rows, known)
            gain = self._gain(known)  # [B, D, D]
            rest = self.covariance - gain @ self.covariance
            hidden = (~known).double()
            total += filled.sum(dim=0)
            products += filled.T @ filled + (rest * hidden[:, :, None] * hidden[:, None, :]).sum(dim=0)
        self.mean = total / len(x)
        covariance = products / len(x) - self.mean[:, None] * self.mean
        self.covariance = 0.5 * (covariance + covariance.T) + self.ridge * torch.eye(len(self.mean)).to(covariance)

    def fill(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, D] with hidden entries at their conditional means given the others."""
        parts = [self._expected(rows, known) for rows, known in self._blocks(x.double(), mask)]
        return torch.where(mask, x, torch.cat(parts).to(x))

    def _expected(self, x: Tensor, known: Tensor) -> Tensor:
        """x where it is known, else m_h + S_ho S_oo^-1 (x_o - m_o): Bishop, 2006, Eq. 2.81."""
        offset = torch.where(known, x - self.mean, 0.0)
        white = torch.cholesky_solve(offset[:, :, None], self._factor(known))[:, :, 0]
        return torch.where(known, x, self.mean + torch.where(known, white, 0.0) @ self.covariance)

    def _gain(self, known: Tensor) -> Tensor:
        """[B, D, D] S_.o S_oo^-1, with columns of zeros for what is hidden."""
        columns = self.covariance * known.double()[:, :, None]  # rows of what is known
        return torch.cholesky_solve(columns, self._factor(known)).mT * known.double()[:, None, :]

    def _factor(self, known: Tensor) -> Tensor:
        """[B, D, D] Cholesky factors of S_oo, with ones on the diagonal of what is hidden."""
        both = known[:, :, None] & known[:, None, :]
        return torch.linalg.cholesky(torch.where(both, self.covariance, torch.eye(known.shape[1]).double()))

    def _blocks(self, x: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = max(1, int(BLOCK / x.shape[1] ** 2))
        return list(zip(x.split(size), known.split(size), strict=True))
