"""Gaussians of few factors: probabilistic principal components and factor analysis."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Noise, check_mask
from exnihilo.models.classical.family import Classical

FLOOR = 1e-6  # of every noise variance, in units of the data's mean variance: a column may not become noiseless


class Factors(NamedTuple):
    """What a solution says: m [D], W [D, K] and the noise variances [D]."""

    location: Tensor
    loadings: Tensor
    noise: Tensor


#: (x [N, D] in double precision, K) -> the maximum of the likelihood.
Solution = Callable[[Tensor, int], Factors]


class LinearGaussian(Classical):
    """x = W z + m + e,  z ~ N(0, I_K),  e ~ N(0, diag psi):  p(x) = N(x; m, W W^T + diag psi).

    The solution finds W and psi by maximum likelihood: with one psi for all entries probabilistic PCA, with one each
    factor analysis. Densities, posteriors, conditionals and samples are exact and cost K^3 instead of D^3 (Woodbury).
    """

    location: Tensor
    loadings: Tensor
    noise: Tensor

    def __init__(self, size: int, latent: int, solution: Solution):
        super().__init__()
        self.solution = solution
        self.register_buffer("location", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("loadings", torch.zeros(size, latent, dtype=torch.float64))
        self.register_buffer("noise", torch.ones(size, dtype=torch.float64))

    def solve(self, x: Tensor) -> None:
        """Fit to the dequantised examples."""
        flat = self.spec.dequantise(x)[0].flatten(1).double().cpu()
        found = self.solution(flat, self.loadings.shape[1])
        floor = FLOOR * float(flat.var(dim=0, correction=0).mean())
        self.location.copy_(found.location)
        self.loadings.copy_(found.loadings)
        self.noise.copy_(found.noise.clamp(min=max(floor, 1e-12)))

    def posterior(self, x: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean [B, K] of p(z | x) and the Cholesky factor of its precision M = I + W^T diag(1 / psi) W, [1 or B, K, K].

        Tipping & Bishop, 1999, JRSS B 61, Eq. 9. known [B, D]: given those entries alone, whose M differ by row.
        """
        rate = (1 / self.noise).expand(1, -1) if known is None else known.double() / self.noise
        precision = torch.einsum("dk,bd,dl->bkl", self.loadings, rate, self.loadings)
        factor = torch.linalg.cholesky(precision + torch.eye(len(self.loadings.T)).to(precision))
        drive = (rate * (self.flat(x) - self.location)) @ self.loadings
        return torch.cholesky_solve(drive[:, :, None], factor)[:, :, 0], factor

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] exact log-density in nats of x as given (dequantise it first: see `DataSpec.dequantise`)."""
        mean, factor = self.posterior(x)
        offset = self.flat(x) - self.location
        distance = (offset * (offset - mean @ self.loadings.T) / self.noise).sum(dim=1)  # Woodbury
        log_det = self.noise.log().sum() + 2 * factor[0].diagonal().log().sum()
        return (-0.5 * (distance + log_det + len(self.noise) * math.log(2 * math.pi))).to(x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """[B, K] E[z | x], drawn towards 0 by as much as the noise makes z uncertain."""
        return self.posterior(x)[0].to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] E[x | z] = W z + m."""
        return (z.double() @ self.loadings.T + self.location).to(z.dtype).view(len(z), *self.spec.shape)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape]: z ~ N(0, I), then x ~ N(W z + m, diag psi)."""
        size, latent = self.loadings.shape
        x = noise.normal(latent, dtype=torch.float64) @ self.loadings.T + self.location
        x = x + self.noise.sqrt() * noise.normal(size, dtype=torch.float64)
        return x.float().view(len(noise), *self.spec.shape)

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn from their exact conditional distribution given the others.

        Given z the entries are independent: z ~ p(z | what is observed), then the rest from p(x | z).
        """
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        size, latent = self.loadings.shape
        at_once = max(1, 10**7 // latent**2)
        found = [self.posterior(*rows) for rows in zip(x.split(at_once), mask.flatten(1).split(at_once), strict=True)]
        mean, factor = (torch.cat(part) for part in zip(*found, strict=True))
        epsilon = noise.normal(latent, dtype=torch.float64)[:, :, None]
        z = mean + torch.linalg.solve_triangular(factor.mT, epsilon, upper=True)[:, :, 0]
        filled = z @ self.loadings.T + self.location
        filled = filled + self.noise.sqrt() * noise.normal(size, dtype=torch.float64)
        return torch.where(mask, x, filled.to(x.dtype).view_as(x))


def principal_factors(x: Tensor, latent: int) -> Factors:
    """psi = the mean of the trailing eigenvalues of the covariance, W = U_K (Lambda_K - psi I)^(1/2).

    Tipping & Bishop, 1999, JRSS B 61, Eq. 7-8, with eigenvalues over n; scikit-learn's PCA, which finds them here,
    divides by n - 1, so its `score` differs by O(1 / n).
    """
    from sklearn.decomposition import PCA as Solver

    size = x.shape[1]
    solver = Solver(min(latent, *x.shape), svd_solver="full").fit(x.numpy())
    values = torch.from_numpy(solver.explained_variance_) * (len(x) - 1) / len(x)
    rest = (x.var(dim=0, correction=0).sum() - values.sum()).clamp(min=0) / (size - len(values))
    loadings = torch.zeros(size, latent, dtype=torch.float64)
    loadings[:, : len(values)] = torch.from_numpy(solver.components_).T * (values - rest).clamp(min=0).sqrt()
    return Factors(torch.from_numpy(solver.mean_), loadings, rest.expand(size))


def own_factors(x: Tensor, latent: int) -> Factors:
    """A noise variance for every entry, by expectation-maximisation (Rubin & Thayer, 1982): scikit-learn's.

    To the iteration that gains less than 1e-5 nats an example, at most 2000; W is determined up to a rotation.
    """
    from sklearn.decomposition import FactorAnalysis as Solver
    from sklearn.exceptions import ConvergenceWarning

    solver = Solver(min(latent, *x.shape), tol=1e-5 * len(x), max_iter=2000, svd_method="lapack")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 2000 iterations are the end here
        solver.fit(x.numpy())
    loadings = torch.zeros(x.shape[1], latent, dtype=torch.float64)
    loadings[:, : len(solver.components_)] = torch.from_numpy(solver.components_).T
    return Factors(torch.from_numpy(solver.mean_), loadings, torch.from_numpy(solver.noise_variance_))
