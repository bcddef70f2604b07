"""Closed-form and EM models: principal components, Gaussian mixtures, kernel densities."""

from exnihilo.models.classical import zoo
from exnihilo.models.classical.family import Classical
from exnihilo.models.classical.kernel import KDE
from exnihilo.models.classical.mixture import GMM, FittedMixture
from exnihilo.models.classical.pca import PCA

__all__ = ["GMM", "KDE", "PCA", "Classical", "FittedMixture", "zoo"]
