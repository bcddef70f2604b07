"""The classical models by name."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, OptionError, recipe
from exnihilo.models.classical.codebook import KMeans
from exnihilo.models.classical.emissions import CategoricalEmission, GaussianEmission
from exnihilo.models.classical.factors import LinearGaussian, own_factors, principal_factors
from exnihilo.models.classical.family import bottleneck
from exnihilo.models.classical.hmm import HMM
from exnihilo.models.classical.kernel import KDE
from exnihilo.models.classical.mixture import GMM, Covariance, FittedMixture
from exnihilo.models.classical.pca import PCA
from exnihilo.models.classical.tree import ChowLiu

NUMERIC = ("image", "vector", "table", "series")


@recipe("On lines and planes of closest fit to systems of points in space", "Pearson, 1901", kinds=NUMERIC)
def pca(data: DataSpec, *, latent: Annotated[int, 1, 4096] | None = None) -> PCA:
    """The flat subspace nearest to the data: the code every autoencoder is measured against.

    At most as many components as x has numbers; if not given, half as many, from 1 to 16.
    """
    if latent is not None and latent > data.size:
        raise OptionError(
            f"pca: latent={latent} is not allowed. An example has {data.size} numbers, so there are as many components;"
            f" it takes a whole number from 1 to {data.size}."
        )
    return PCA(data.size, latent or min(16, max(1, data.size // 2)))


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


@recipe("Probabilistic Principal Component Analysis", "Tipping & Bishop, 1999", kinds=NUMERIC)
def ppca(data: DataSpec, *, latent: Annotated[int, 1, 4096] | None = None) -> LinearGaussian:
    """Principal components as a density: a few directions of large variance and the same noise in all the others.

    Of dequantised data, by maximum likelihood in closed form. `latent` must be less than x has numbers; without one 16,
    or one less.
    """
    return LinearGaussian(data.size, bottleneck("ppca", data, latent), principal_factors)


@recipe("EM algorithms for ML factor analysis", "Rubin & Thayer, 1982", kinds=NUMERIC)
def factor_analysis(data: DataSpec, *, latent: Annotated[int, 1, 4096] | None = None) -> LinearGaussian:
    """A Gaussian of a few common factors, with a noise variance of its own for every entry.

    Unlike principal components it does not mind in which units the entries are. `latent` must be less than x has
    numbers; without one 16, or one less.
    """
    return LinearGaussian(data.size, bottleneck("factor_analysis", data, latent), own_factors)


@recipe("Some Methods for Classification and Analysis of Multivariate Observations", "MacQueen, 1967", kinds=NUMERIC)
def kmeans(data: DataSpec, *, clusters: Annotated[int, 1, 10_000] = 20) -> KMeans:
    """A codebook of centres, each the mean of the examples that are nearest to it.

    No more clusters than examples. The code is one-hot; it is the classical row beside vector quantisation.
    """
    return KMeans(data.size, min(clusters, data.examples) if data.examples else clusters)


@recipe("Approximating Discrete Probability Distributions with Dependence Trees", "Chow & Liu, 1968")
def chow_liu(
    data: DataSpec,
    *,
    bins: Annotated[int, 2, 64] = 20,
    smoothing: Annotated[float, 1e-6, 100] = 0.5,
) -> ChowLiu:
    """The tree of pairwise dependences that explains discrete data best: exact, and blind to all of higher order.

    For pictures, for vectors of two values and for tables of categories only. More levels than `bins` are grouped;
    `smoothing` is added to every count.
    """
    return ChowLiu(data, bins, smoothing)


@recipe(
    "A Maximization Technique Occurring in the Statistical Analysis of Probabilistic Functions of Markov Chains",
    "Baum, Petrie, Soules & Weiss, 1970",
    kinds=("series",),
)
def hmm(data: DataSpec, *, states: Annotated[int, 1, 500] = 8, iterations: Annotated[int, 1, 100_000] = 100) -> HMM:
    """A chain of hidden states, each with its own Gaussian (of levels: categorical) distribution of what is seen.

    Gaussians have diagonal covariances. Its memory is the state: what is longer than a state lasts, it forgets.
    """
    channels = data.shape[0]
    emission = (
        CategoricalEmission(states, channels, data.levels, data.low, data.step)
        if data.levels
        else GaussianEmission(states, channels)
    )
    return HMM(states, emission, iterations)
