"""Ladders of codes."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from exnihilo.core import DataSpec, adamw, cosine, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, channels, convolutional, likelihood_for
from exnihilo.models.autoencoders.hierarchical import HierarchicalVAE
from exnihilo.models.autoencoders.levels import (
    LadderLevel,
    LadderReader,
    LeakyTenth,
    ResidualLevel,
    ResidualReader,
    rise,
)
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC
from exnihilo.nets.conv import ConvDecoder, ConvEncoder
from exnihilo.nets.mlp import MLP


@recipe("Ladder Variational Autoencoders", "Sonderby et al., 2016", arxiv="1602.02282", kinds=NUMERIC)
def ladder_vae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 16,
    levels: Annotated[int, 1, 16] = 3,
    width: Annotated[int, 4, 4096] = 256,
    likelihood: LikelihoodName = "auto",
    warm_up: Annotated[float, 0.0, 1.0] = 0.3,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> HierarchicalVAE:
    """Codes above codes, inferred by weighing evidence from below with expectation from above by their precisions.

    `latent` and `width` are those of the level next to the data, and halve with every level above.
    """
    head = likelihood_for(data, likelihood)
    sizes = [max(1, latent // 2**level) for level in range(levels)]  # from the data up
    widths = [max(8, width // 2**level) for level in range(levels)]
    shape = head.shape(data.shape)
    reader: nn.Module
    decoder: nn.Module
    if convolutional(data):
        c = channels(width)
        reader = ConvEncoder(data.shape, (widths[0],), c, activation=LeakyTenth, normalisation="batch")
        decoder = ConvDecoder((latent,), shape, c, activation=LeakyTenth, normalisation="batch")
    else:
        reader = MLP(data.shape, (widths[0],), width, 2, activation=LeakyTenth, normalisation="batch")
        decoder = MLP((latent,), shape, width, 2, activation=LeakyTenth, normalisation="batch")
    ladder = [
        LadderLevel(size, feature, above, feature)
        for size, feature, above in zip(sizes, widths, [*sizes[1:], 0], strict=True)
    ]
    return HierarchicalVAE(
        LadderReader(reader, widths),
        reversed(ladder),
        decoder,
        head,
        warm_up=warm_up,
        optimizer=adamw(rate, schedule=cosine(hold=0.5)),
    )


@recipe(
    "NVAE: A Deep Hierarchical Variational Autoencoder",
    "Vahdat & Kautz, 2020",
    arxiv="2007.03898",
    kinds=("image",),
)
def nvae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 256] = 4,
    width: Annotated[int, 4, 1024] = 16,
    depth: Annotated[int, 1, 64] = 2,
    likelihood: LikelihoodName = "auto",
    warm_up: Annotated[float, 0.0, 1.0] = 0.3,
    spectral: Annotated[float, 0.0, 100.0] = 1e-2,
    rate: Annotated[float, 1e-7, 1] = 3e-3,
) -> HierarchicalVAE:
    """Maps of codes at two scales, each given those before it, between residual cells with depthwise convolutions.

    `depth` groups of `latent` maps at a quarter and at half of the sides; `width` channels at half, twice as many at a
    quarter. Unlike the paper's: group instead of batch normalisation, two scales, and no flow in the posterior.
    """
    head = likelihood_for(data, likelihood)
    sides = [(data.shape[1], data.shape[2])]
    for _ in range(2):
        high, wide = sides[-1]
        sides.append(((high + 1) // 2, (wide + 1) // 2))
    widths = [width, 2 * width]
    groups = [(sides[2], widths[1])] * depth + [(sides[1], widths[0])] * depth  # from the top down
    before = [0] + [c for _, c in groups[:-1]]
    ladder = [ResidualLevel(latent, side, c, above) for (side, c), above in zip(groups, before, strict=True)]
    decoder = nn.Sequential(
        rise(width, width, sides[0]), nn.SiLU(), nn.Conv2d(width, head.shape(data.shape)[0], 3, padding=1)
    )
    return HierarchicalVAE(
        ResidualReader(data.shape[0], sides, widths, depth),
        ladder,
        decoder,
        head,
        warm_up=warm_up,
        balance=True,
        spectral=spectral,
        optimizer=adamw(rate, clip=100.0, schedule=cosine(hold=0.5)),
        batch=32,
    )
