"""Autoencoders, plain and variational: a network to a code and one back."""

from exnihilo.models.autoencoders import zoo
from exnihilo.models.autoencoders.clustered import ClusteredVAE
from exnihilo.models.autoencoders.discrete import CategoricalVAE
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.hierarchical import HierarchicalVAE
from exnihilo.models.autoencoders.imputation import Completion, complete
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.models.autoencoders.priors import (
    ConditionalNormal,
    LearnedMixture,
    MixturePrior,
    Posterior,
    Prior,
    StandardNormal,
    VampPrior,
)
from exnihilo.models.autoencoders.quantised import Codebook, QuantisedAutoencoder
from exnihilo.models.autoencoders.semisupervised import SemiSupervisedVAE
from exnihilo.models.autoencoders.unobserved import MIWAE

__all__ = [
    "MIWAE", "VAE", "Autoencoder", "CategoricalVAE", "ClusteredVAE", "Codebook", "Completion", "ConditionalNormal",
    "HierarchicalVAE", "LearnedMixture", "MixturePrior", "Posterior", "Prior", "QuantisedAutoencoder",
    "SemiSupervisedVAE", "StandardNormal", "VampPrior", "complete", "zoo",
]  # fmt: skip
