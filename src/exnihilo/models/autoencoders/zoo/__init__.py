"""Named autoencoders, grouped by idea."""

from exnihilo.models.autoencoders.zoo.autoencoders import (
    contractive_autoencoder,
    denoising_autoencoder,
    linear_autoencoder,
    sparse_autoencoder,
    stacked_autoencoder,
)
from exnihilo.models.autoencoders.zoo.bounds import beta_vae, iwae, miwae
from exnihilo.models.autoencoders.zoo.conditional import cvae, m2
from exnihilo.models.autoencoders.zoo.debiasing import db_vae
from exnihilo.models.autoencoders.zoo.discrete import categorical_vae, vqvae
from exnihilo.models.autoencoders.zoo.foundations import autoencoder, vae
from exnihilo.models.autoencoders.zoo.hierarchies import ladder_vae, nvae
from exnihilo.models.autoencoders.zoo.mixtures import gmvae, vampprior
from exnihilo.models.autoencoders.zoo.posteriors import flow_vae

__all__ = [
    "autoencoder",
    "beta_vae",
    "categorical_vae",
    "contractive_autoencoder",
    "cvae",
    "db_vae",
    "denoising_autoencoder",
    "flow_vae",
    "gmvae",
    "iwae",
    "ladder_vae",
    "linear_autoencoder",
    "m2",
    "miwae",
    "nvae",
    "sparse_autoencoder",
    "stacked_autoencoder",
    "vae",
    "vampprior",
    "vqvae",
]
