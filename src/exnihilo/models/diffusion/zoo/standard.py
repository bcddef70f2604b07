"""Systems with the U-Net of the papers, whose weights go to diffusers and come from there."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from torch import nn

from exnihilo.core import DataSpec, OptionError, adamw, cosine, recipe
from exnihilo.models.diffusion.discrete import DenoisingDiffusion
from exnihilo.models.diffusion.guided import GuidedDiffusion
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.networks import TIMED, box_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import predict_noise
from exnihilo.models.diffusion.standard import noisy_classifier, standard_network, usual_layout
from exnihilo.models.diffusion.unet2d_files import PREDICTION_TYPES, betas_of
from exnihilo.nets.unet2d import Layout
from exnihilo.probability.schedules import Discrete, cosine_betas, linear_betas


@recipe("Diffusion Models Beat GANs on Image Synthesis", "Dhariwal & Nichol, 2021", arxiv="2105.05233", kinds=TIMED)
def adm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    schedule: Literal["linear", "cosine"] = "cosine",
    classifier: Annotated[float, 0, 0.9] = 0.25,
) -> GuidedDiffusion:
    """Class-conditional diffusion with learned variances, and a classifier of noisy examples that guides it.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves, and the smallest ones do. schedule: cosine destroys small pictures
    more slowly. classifier: its share of the rounds, in a second stage; 0, or data without labels, leaves it out. Ask
    for its guidance by `classifier_guidance`. Unlike the paper's: sides are halved by convolutions.
    """
    path = Discrete(linear_betas() if schedule == "linear" else cosine_betas())
    network: nn.Module
    if data.kind == "image":
        network = standard_network(data, usual_layout(data, width, depth, attention), path.steps, outputs=2)
    else:
        network = timed_network(data, width, depth, outputs=2)
    guide = noisy_classifier(data, width, depth, attention, path.steps) if data.classes and classifier else None
    model = GuidedDiffusion(
        network,
        path,
        predict_noise,
        hybrid=True,
        classifier=guide,
        share=classifier,
        rate=adamw(1e-3, decay=0.05, clip=1.0, schedule=cosine(warmup=0.03, hold=0.3, end=0.01)),
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe("Denoising Diffusion Probabilistic Models", "Ho, Jain & Abbeel, 2020", arxiv="2006.11239", kinds=("image",))
def unet2d(
    data: DataSpec,
    *,
    maps: str = "32-64-64a",
    depth: Annotated[int, 1, 8] = 2,
    head: Annotated[int, 0, 1024] = 0,
    norm_groups: Annotated[int, 1, 1024] = 32,
    epsilon: Annotated[float, 0, 1] = 1e-5,
    modulation: Literal["shift", "scale_shift"] = "shift",
    resampling: Literal["convolution", "residual"] = "convolution",
    corner: bool = False,
    middle: bool = True,
    middle_norm: bool = True,
    sines_first: bool = False,
    stretch: Annotated[float, 0, 1] = 0.0,
    dropout: Annotated[float, 0, 0.9] = 0.0,
    unknown: bool = True,
    learned: bool = False,
    prediction: Literal["noise", "data", "v"] = "noise",
    schedule: Literal["linear", "scaled_linear", "cosine"] = "linear",
    levels: Annotated[int, 2, 10000] = 1000,
    first: Annotated[float, 0, 0.999] = 1e-4,
    last: Annotated[float, 0, 0.999] = 0.02,
) -> DenoisingDiffusion:
    """A denoiser over levels whose U-Net is diffusers' UNet2DModel: its weights go there and come from there.

    maps: the channels of every level from the full side on, with an a where maps attend to themselves. depth: residual
    blocks of a level. unknown: whether one more class stands for none, which guidance needs. learned: the variances of
    steps too. first, last: betas of a schedule that is not the cosine. The others are the keys of its config.json in
    other words. `ddpm` trains faster; what of ours goes to diffusers says `exnihilo export --help`.
    """
    layout = Layout(
        *_widths(maps, depth),
        head=head,
        groups=norm_groups,
        epsilon=epsilon,
        modulation=modulation,
        resampling=resampling,
        corner=corner,
        middle=middle,
        middle_norm=middle_norm,
        sines_first=sines_first,
        stretch=stretch,
        dropout=dropout,
    )
    parts: tuple[Any, ...] = (
        standard_network(data, layout, levels, outputs=1 + learned, unknown=unknown),
        Discrete(betas_of(schedule, levels, first, last)),
        PREDICTION_TYPES[prediction],
    )
    slots: dict[str, Any] = {"box": box_of(data), "mass": data.discrete, "labelled": data.classes > 0}
    slots["unconditional"] = 0.1 if unknown else 0.0
    model = LearnedVariance(*parts, hybrid=True, **slots) if learned else DenoisingDiffusion(*parts, **slots)
    model.optimizer = network_optimizer(data, layout.widths[0])
    return model


def _widths(maps: str, depth: int) -> tuple[tuple[int, ...], int, tuple[bool, ...]]:
    """`32-64a` -> widths, depth and which levels attend, as a layout begins."""
    found = [re.fullmatch(r"(\d+)(a?)", level.strip()) for level in maps.split("-")]
    if not all(found):
        raise OptionError(
            f"unet2d: maps={maps} is not allowed. It takes the channels of every level joined by dashes, with an a"
            " where maps attend to themselves, as in 32-64-64a."
        )
    levels = [level for level in found if level is not None]
    return tuple(int(level[1]) for level in levels), depth, tuple(level[2] == "a" for level in levels)
