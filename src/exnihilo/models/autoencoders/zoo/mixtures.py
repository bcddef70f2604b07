"""Variational autoencoders whose prior is a mixture."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, adamw, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.clustered import ClusteredVAE
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import LearnedMixture, VampPrior
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC
from exnihilo.probability.distributions import DiagonalNormal


@recipe("Variational Deep Embedding: An Unsupervised and Generative Approach to Clustering", "Jiang et al., 2017",
        arxiv="1611.05148", kinds=NUMERIC)  # fmt: skip
def gmvae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    components: Annotated[int, 1, 1000] = 10,
    pretraining: Annotated[float, 0.01, 0.9] = 0.3,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> ClusteredVAE:
    """Codes of several clusters, a Gaussian each, learnt with the networks: it groups the data by itself.

    pretraining: share of the rounds in which the networks learn as a plain autoencoder (the paper stacks it layer by
    layer), before clusters are placed by a mixture fitted to the codes. `clusters(x)` says which one x belongs to.
    """
    head = likelihood_for(data, likelihood)
    return ClusteredVAE(
        encoder_for(data, (2, latent), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        LearnedMixture(latent, components),
        pretraining=pretraining,
        optimizer=adamw(rate),
    )


@recipe("VAE with a VampPrior", "Tomczak & Welling, 2018", arxiv="1705.07120", kinds=NUMERIC)
def vampprior(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    components: Annotated[int, 1, 10_000] = 100,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """The prior is the mixture of the posteriors of learned pseudo-inputs: codes that occur are codes that are drawn.

    components: pseudo-inputs, which start at training examples; each costs an encoder pass in every step.
    """
    head = likelihood_for(data, likelihood)
    encoder = encoder_for(data, (2, latent), width, depth)
    return VAE(
        encoder,
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        VampPrior(encoder, DiagonalNormal.of, data, components),
        optimizer=adamw(rate),
    )
