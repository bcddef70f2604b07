"""Richer approximate posteriors: Gaussians bent by flows."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, adamw, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.posteriors import InverseAutoregressiveFamily, PlanarFamily
from exnihilo.models.autoencoders.priors import StandardNormal
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC


@recipe(
    "Variational Inference with Normalizing Flows",
    "Rezende & Mohamed, 2015; Kingma et al., 2016",
    arxiv="1505.05770",
    kinds=NUMERIC,
)
def flow_vae(
    data: DataSpec,
    *,
    flow: Literal["planar", "iaf"] = "planar",
    length: Annotated[int, 0, 256] = 8,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """A variational autoencoder whose posterior is a Gaussian carried through `length` invertible steps.

    planar: steps that bend along one direction, all set by the encoder. iaf: inverse autoregressive steps (Kingma et
    al., 2016, arXiv:1606.04934), networks that see a vector of the encoder's; slower, and fitter for long codes.
    """
    head = likelihood_for(data, likelihood)
    family: PlanarFamily | InverseAutoregressiveFamily
    if flow == "planar":
        family = PlanarFamily(latent, length)
    else:
        family = InverseAutoregressiveFamily(latent, length, width=max(8, width // 3), vector=max(4, width // 6))
    return VAE(
        encoder_for(data, (family.size,), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        family=family,
        optimizer=adamw(rate),
    )
