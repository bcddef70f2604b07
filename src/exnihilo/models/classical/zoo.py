"""The closed-form baselines by name."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, recipe
from exnihilo.models.classical.kernel import KDE
from exnihilo.models.classical.mixture import GMM, Covariance, FittedMixture
from exnihilo.models.classical.pca import PCA

NUMERIC = ("image", "vector", "table", "series")


@recipe("On lines and planes of closest fit to systems of points in space", "Pearson, 1901", kinds=NUMERIC)
def pca(data: DataSpec, *, latent: Annotated[int, 1, 4096] = 16) -> PCA:
    """The flat subspace nearest to the data: the code every autoencoder is measured against.

    At most as many components as x has numbers.
    """
    return PCA(data.size, min(latent, data.size))


@recipe("Maximum Likelihood from Incomplete Data via the EM Algorithm", "Dempster, Laird & Rubin, 1977", kinds=NUMERIC)
def gmm(
    data: DataSpec,
    *,
    components: Annotated[int, 1, 1000] = 20,
    covariance: Covariance = "full",
    ridge: Annotated[float, 0, 1] | None = None,
) -> GMM:
    """A mixture of Gaussians by expectation-maximisation; one full component is the Gaussian of the data.

    Fewer components where the data are few: a full covariance is given at least as many examples as x has numbers,
    any other five. `ridge` is added to every variance, in units of the data's mean variance; without one, the more the
    fewer examples a component has.
    """
    each = data.size if covariance == "full" else 5
    if data.examples:
        components = max(1, min(components, data.examples // each))
    return GMM(FittedMixture(data.size, components, covariance, ridge))


@recipe("On Estimation of a Probability Density Function and Mode", "Parzen, 1962", kinds=NUMERIC)
def kde(data: DataSpec, *, bandwidth: Annotated[float, 1e-6, 1e6] | None = None) -> KDE:
    """A small Gaussian around every training example; without a bandwidth, the best by leave-one-out likelihood."""
    return KDE(data.size, data.examples, bandwidth)
