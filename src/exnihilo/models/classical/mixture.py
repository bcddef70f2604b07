"""Mixtures of Gaussians fitted by expectation-maximisation."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Conditions, Noise, TrainingError, check_mask
from exnihilo.models.classical.family import Classical
from exnihilo.probability.distributions import GaussianMixture

Covariance = Literal["full", "tied", "diag", "spherical"]


class FittedMixture(nn.Module):
    """sum_k w_k N(x; m_k, S_k) over [D] as buffers: N(0, I) until `fit` solves for the data.

    ridge: added to the diagonal of every covariance, in units of the data's mean variance. None: 0.05 per free number
    of a row of the covariances and example, 0.05 K D / N for full ones, near the best likelihood of fresh data for
    two to sixty-four dimensions.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, size: int, components: int, covariance: Covariance = "full", ridge: float | None = None):
        super().__init__()
        self.covariance, self.ridge = covariance, ridge
        full = {"full": components, "tied": 1}.get(covariance)
        factors = torch.ones(components, size) if full is None else torch.eye(size).repeat(full, 1, 1)
        self.register_buffer("log_weights", torch.full((components,), 1 / components).double().log())
        self.register_buffer("means", torch.zeros(components, size, dtype=torch.float64))
        self.register_buffer("factors", factors.double())

    @property
    def density(self) -> GaussianMixture:
        """The distribution as it stands."""
        return GaussianMixture(self.log_weights, self.means, self.factors)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Expectation-maximisation from k-means on x [N, D] (scikit-learn's), seeded by torch's generator."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Solver

        components = len(self.means)
        if len(x) < components:
            raise TrainingError(f"{len(x)} examples cannot place {components} components. Use components={len(x)}.")
        x = x.double().cpu()
        row = x.shape[1] if self.covariance == "full" else 1
        ridge = 0.05 * components * row / len(x) if self.ridge is None else self.ridge
        solver = Solver(
            components,
            covariance_type=self.covariance,
            reg_covar=max(ridge * float(x.var(dim=0, correction=0).mean()), 1e-12),
            random_state=int(torch.randint(2**31, ())),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 100 iterations are the end here
            try:
                solver.fit(x.numpy())
            except ValueError as error:
                raise TrainingError(f"A component shrank to a point. Use a larger ridge than {ridge:g}.") from error
        self.log_weights.copy_(torch.from_numpy(solver.weights_).log())
        self.means.copy_(torch.from_numpy(solver.means_))
        self.factors.copy_(self._factors(torch.from_numpy(solver.covariances_)))

    def _factors(self, covariances: Tensor) -> Tensor:
        """Cholesky factors or standard deviations of scikit-learn's covariances."""
        if self.covariance in ("full", "tied"):
            return torch.linalg.cholesky(covariances.reshape(self.factors.shape))
        return covariances.reshape(len(self.means), -1).sqrt().expand_as(self.means)


class GMM(Classical):
    """max sum_n log sum_k w_k N(x_n; m_k, S_k): a Gaussian mixture over dequantised data.

    Dempster, Laird & Rubin, 1977. Densities, conditionals and samples are exact; samples come in no order.
    """

    def __init__(self, mixture: FittedMixture):
        super().__init__()
        self.mixture = mixture

    def solve(self, x: Tensor) -> None:
        """Fit to the dequantised examples."""
        self.mixture.fit(self.spec.dequantise(x)[0].flatten(1))

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] exact log-density in nats of x as given (dequantise it first: see `DataSpec.dequantise`)."""
        return torch.cat([self.mixture.density.log_prob(part) for part in self.flat(x).split(self.chunk)]).to(x.dtype)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape], each sample from a component of its own choice."""
        return self.mixture.density.draw(noise).float().view(len(noise), *self.spec.shape)

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn from their exact conditional distribution given the others."""
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        filled = self.mixture.density.impute(self.flat(x), mask.flatten(1), noise).to(x.dtype).view_as(x)
        return torch.where(mask, x, filled)
