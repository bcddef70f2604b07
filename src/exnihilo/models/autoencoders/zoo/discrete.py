"""Codes of categories: relaxed, and quantised."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from exnihilo.core import DataSpec, adamw, cosine, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, channels, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.discrete import CategoricalVAE, Relaxation
from exnihilo.models.autoencoders.quantised import Codebook, QuantisedAutoencoder
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC
from exnihilo.nets.maps import MapDecoder, MapEncoder, map_sides
from exnihilo.nets.masked import MADE, CausalNetwork
from exnihilo.nets.mlp import MLP
from exnihilo.nets.pixels import PixelCNN

SMALL_SIDE = 12  # pictures up to this side have codes of the whole, larger ones codes with places


@recipe(
    "Categorical Reparameterization with Gumbel-Softmax",
    "Jang et al., 2017; Maddison et al., 2017",
    arxiv="1611.01144",
    kinds=NUMERIC,
)
def categorical_vae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    categories: Annotated[int, 2, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    likelihood: LikelihoodName = "auto",
    coldest: Annotated[float, 0.05, 1.0] = 0.6,
    relaxation: Relaxation = "soft",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> CategoricalVAE:
    """A variational autoencoder whose code is `latent` choices among `categories`, relaxed while it learns.

    The temperature of the relaxation falls from 1 to `coldest`. relaxation=straight_through: the decoder sees one-hot
    codes already in training, with gradients as if they were soft.
    """
    head = likelihood_for(data, likelihood)
    return CategoricalVAE(
        encoder_for(data, (latent, categories), width, depth),
        decoder_for(data, (latent, categories), head.shape(data.shape), width, depth),
        head,
        groups=latent,
        categories=categories,
        coldest=coldest,
        relaxation=relaxation,
        optimizer=adamw(rate),
    )


@recipe("Neural Discrete Representation Learning", "van den Oord et al., 2017", arxiv="1711.00937", kinds=NUMERIC)
def vqvae(
    data: DataSpec,
    *,
    codes: Annotated[int, 2, 65536] = 64,
    latent: Annotated[int, 1, 1024] = 16,
    groups: Annotated[int, 1, 256] = 4,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    likelihood: LikelihoodName = "auto",
    dropout: Annotated[float, 0, 0.9] | None = None,
    commitment: Annotated[float, 0.0, 100.0] = 0.25,
    decay: Annotated[float, 0.0, 0.99999] = 0.9,
    rate: Annotated[float, 1e-7, 1] = 2e-3,
) -> QuantisedAutoencoder:
    """A code is a map of entries of a learnt codebook; an autoregressive prior then learns which maps occur.

    Pictures have a map of codes, 7 or 8 a side, and a PixelCNN as the prior; those of up to 12 a side and other data
    have `groups` codes and a masked fully connected network. Every code is a vector of `latent` numbers. dropout: in
    fully connected encoders and decoders, None is 0.2 for pictures and 0 for the rest. decay: of the codes' running
    means; with the paper's 0.99, for long runs, they lag behind an encoder that has a minute.
    """
    if dropout is None:
        dropout = 0.2 if data.kind == "image" else 0.0
    head = likelihood_for(data, likelihood)
    shape = head.shape(data.shape)
    encoder: nn.Module
    decoder: nn.Module
    prior: CausalNetwork
    if data.kind == "image" and min(data.shape[1:]) > SMALL_SIDE:
        c = channels(width)
        side = map_sides((data.shape[1], data.shape[2]))[-1]
        encoder, decoder = MapEncoder(data.shape, latent, c, depth), MapDecoder(latent, shape, c, depth)
        prior = PixelCNN((1, *side), codes, width=c, depth=depth, kernel=5, dropout=0.1, categories=codes)
    else:
        encoder = MLP(data.shape, (latent, groups), width, depth, dropout=dropout)
        decoder = MLP((latent, groups), shape, width, depth, dropout=dropout)
        prior = MADE((groups,), codes, width=max(8, width // 3), depth=1, categories=codes)
    return QuantisedAutoencoder(
        encoder,
        decoder,
        head,
        Codebook(codes, latent, decay=decay),
        prior,
        commitment=commitment,
        optimizer=adamw(rate, schedule=cosine(hold=0.5)),
        prior_optimizer=adamw(2e-3, betas=(0.9, 0.99), decay=1e-2, schedule=cosine(hold=0.5)),
    )
