"""Named autoencoders, grouped by idea."""

from exnihilo.models.autoencoders.zoo.foundations import autoencoder, vae

__all__ = ["autoencoder", "vae"]
