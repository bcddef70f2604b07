"""Denoisers whose network is a transformer over patches instead of a U-Net."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, recipe
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.networks import TimedNetwork, box_of, patch_of, transformer_optimizer
from exnihilo.models.diffusion.predictions import predict_noise
from exnihilo.models.diffusion.times import from_least
from exnihilo.nets.dit import DiT
from exnihilo.nets.time_embedding import TimeEmbedding, TimeTokens
from exnihilo.nets.uvit import UViT
from exnihilo.probability.paths import VariancePreserving
from exnihilo.probability.schedules import Discrete, linear_betas


@recipe(
    "Scalable Diffusion Models with Transformers",
    "Peebles & Xie, 2022",
    arxiv="2212.09748",
    kinds=("image", "series", "audio"),
)
def dit(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 32,
    depth: Annotated[int, 1, 64] = 4,
    patch: Annotated[int, 0, 256] = 0,
) -> LearnedVariance:
    """A transformer over patches in place of the U-Net: time and class scale, shift and gate each of its blocks.

    Trained as `improved_ddpm` is, at 1000 levels of a straight line of betas. width, depth: of the transformer. patch:
    its side; 0 is the smallest of 2, 4, 8, ... with at most 64 patches. Caution: it learns more slowly than a U-Net on
    few examples, as it has to find out that neighbours belong together.
    """
    embedding = TimeEmbedding(data.classes, len(data.attributes), width)
    body = DiT(data.shape, width, width, depth=depth, patch=patch or patch_of(data, least=2), outputs=2)
    model = LearnedVariance(
        TimedNetwork(body, embedding),
        Discrete(linear_betas()),
        predict_noise,
        hybrid=True,
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.solver = "dpmpp_2m"  # at 20 steps better than ancestral ones, of which the paper takes 250
    model.optimizer = transformer_optimizer(width)
    return model


@recipe(
    "All are Worth Words: A ViT Backbone for Diffusion Models",
    "Bao et al., 2022",
    arxiv="2209.12152",
    kinds=("image", "series", "audio"),
)
def uvit(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 4096] = 48,
    depth: Annotated[int, 1, 64] = 1,
    patch: Annotated[int, 0, 256] = 0,
    density: bool = False,
) -> ContinuousDiffusion:
    """A transformer to which time, class and patches are all tokens, its first blocks joined to its last.

    Noise is told on the variance preserving path, as by `score_sde`. width: of the transformer. depth: blocks before
    and after the middle one. patch: its side; 0 is the smallest of 2, 4, 8, ... with at most 64 patches. density: of
    data in levels, learn them spread over their steps, so that the model states a likelihood; samples are then noisier.
    """
    path = VariancePreserving()
    embedding = TimeTokens(data.classes, len(data.attributes), width)
    body = UViT(data.shape, width, embedding.count, depth=depth, patch=patch or patch_of(data, least=2))
    model = ContinuousDiffusion(
        TimedNetwork(body, embedding),
        path,
        predict_noise,
        from_least(path.least),
        density=density or data.continuous,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = transformer_optimizer(width)
    return model
