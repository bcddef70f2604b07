"""Closed-form and EM models: principal components, factors, clusters, mixtures, kernel densities, trees, chains."""

from exnihilo.models.classical import zoo
from exnihilo.models.classical.codebook import KMeans
from exnihilo.models.classical.emissions import CategoricalEmission, GaussianEmission
from exnihilo.models.classical.factors import LinearGaussian
from exnihilo.models.classical.family import Classical
from exnihilo.models.classical.hmm import HMM
from exnihilo.models.classical.kernel import KDE
from exnihilo.models.classical.mixture import GMM, FittedMixture
from exnihilo.models.classical.pca import PCA
from exnihilo.models.classical.tree import ChowLiu

__all__ = [
    "GMM", "HMM", "KDE", "PCA", "CategoricalEmission", "ChowLiu", "Classical", "FittedMixture", "GaussianEmission",
    "KMeans", "LinearGaussian", "zoo",
]  # fmt: skip
