"""The plain autoencoder and the first variational one."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, adamw, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.models.autoencoders.posteriors import PosteriorName, family_named
from exnihilo.models.autoencoders.priors import MixturePrior, StandardNormal
from exnihilo.probability.likelihoods import SquaredError

NUMERIC = ("image", "vector", "table", "series")


@recipe(
    "Reducing the Dimensionality of Data with Neural Networks",
    "Hinton & Salakhutdinov, 2006",
    kinds=NUMERIC,
)
def autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 16,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> Autoencoder:
    """A network squeezes x through a short code and another one restores it with least squared error.

    Tables: with the likelihood of each column. `depth` counts the hidden layers of fully connected networks. Unlike the
    paper's: trained at once by Adam, without a pretraining layer by layer.
    """
    likelihood = likelihood_for(data) if data.kind == "table" else SquaredError()
    return Autoencoder(
        encoder_for(data, (latent,), width, depth),
        decoder_for(data, (latent,), likelihood.shape(data.shape), width, depth),
        likelihood,
        optimizer=adamw(rate),
    )


@recipe("Auto-Encoding Variational Bayes", "Kingma & Welling, 2014", arxiv="1312.6114", kinds=NUMERIC)
def vae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    likelihood: LikelihoodName = "auto",
    prior: Literal["normal", "mixture"] = "normal",
    posterior: PosteriorName = "diagonal",
    dropout: Annotated[float, 0, 0.9] | None = None,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """A latent-variable model and the network that infers its latents, learnt together through a bound on log p(x).

    prior=mixture fits a mixture of up to 20 Gaussians to the codes after training, which improves samples greatly.
    posterior: Gaussians with independent units, with a full covariance, or a mixture of 4 of the former. dropout: in
    the encoder, which is what learns a small set by heart first; None is 0.2 for pictures and 0 for the rest.
    """
    shape, family = family_named(posterior, latent)
    head = likelihood_for(data, likelihood)
    if dropout is None:
        dropout = 0.2 if data.kind == "image" else 0.0
    components = min(20, max(1, data.examples // 10)) if data.examples else 20
    return VAE(
        encoder_for(data, shape, width, depth, dropout=dropout),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        family=family,
        aggregate=MixturePrior(latent, components) if prior == "mixture" else None,
        optimizer=adamw(rate),
    )
