"""Autoencoders, plain and variational: a network to a code and one back."""

from exnihilo.models.autoencoders import zoo
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.models.autoencoders.priors import MixturePrior, Prior, StandardNormal

__all__ = ["VAE", "Autoencoder", "MixturePrior", "Prior", "StandardNormal", "zoo"]
