"""Flows whose paths are made straight, and models distilled from flows, for samples in few steps."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, OptionError, recipe
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.couplings import transported
from exnihilo.models.diffusion.distilled import Consistency, ProgressiveDistillation, boundary
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.networks import TIMED, box_of, deviation_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import preconditioned, predict_v, predict_velocity
from exnihilo.models.diffusion.reflow import RectifiedFlow
from exnihilo.models.diffusion.times import log_normal, logit_normal, stratified
from exnihilo.models.diffusion.weightings import truncated_snr, unit_variance
from exnihilo.probability.paths import Cosine, Plain, Straight


@recipe(
    "Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport",
    "Tong et al., 2023",
    arxiv="2302.00482",
    kinds=TIMED,
)
def ot_cfm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    density: bool = False,
) -> ContinuousDiffusion:
    """Flow matching between examples and noise paired by optimal transport within the batch: straighter paths.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. density: of data in levels, learn them spread over their steps, so
    that the model states a likelihood. Labelled examples are paired within their class.
    """
    model = ContinuousDiffusion(
        timed_network(data, width, depth, attention),
        Straight(),
        predict_velocity,
        logit_normal(),
        density=density or data.continuous,
        coupling=transported,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
    "Liu et al., 2022",
    arxiv="2209.03003",
    kinds=TIMED,
)
def rectified_flow(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    pairs: Annotated[int, 1, 10**6] = 2048,
    reflow: Annotated[float, 0, 0.9] = 0.4,
) -> RectifiedFlow:
    """Flow matching, then the same on the pairs of noise and sample that the flow has joined: paths become straight.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. pairs: made when the second stage begins. reflow: its share of the
    rounds; 0 is the first flow alone. Samples in one step: solver=euler steps=1.
    """
    model = RectifiedFlow(
        timed_network(data, width, depth, attention),
        Straight(),
        predict_velocity,
        stratified,
        density=data.continuous,
        pairs=pairs,
        share=reflow,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Progressive Distillation for Fast Sampling of Diffusion Models",
    "Salimans & Ho, 2022",
    arxiv="2202.00512",
    kinds=TIMED,
)
def progressive_distillation(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    first: Annotated[int, 1, 1024] = 16,
    last: Annotated[int, 1, 1024] = 2,
    share: Annotated[float, 0.05, 0.95] = 0.5,
) -> ProgressiveDistillation:
    """A teacher, then students that each do in one step what the one before did in two, from `first` steps to `last`.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. share: of the rounds, of all students. first, last: powers of two.
    Unlike the paper's: it starts at 1024 steps or more.
    """
    for name, steps in (("first", first), ("last", last)):
        if steps & (steps - 1):
            raise OptionError(f"progressive_distillation: {name}={steps} is not a power of two, such as 16, 4 or 1.")
    if last > first:
        raise OptionError(f"progressive_distillation: last={last} is above first={first}; steps halve from first on.")
    model = ProgressiveDistillation(
        timed_network(data, width, depth, attention),
        Cosine(),
        predict_v,
        stratified,
        first=first,
        last=last,
        share=share,
        weighting=truncated_snr,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe("Consistency Models", "Song et al., 2023", arxiv="2303.01469", kinds=TIMED)
def consistency(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    method: Literal["training", "distillation"] = "training",
    coarse: Annotated[int, 2, 1280] = 10,
    fine: Annotated[int, 2, 1280] = 160,
) -> Consistency:
    """A function from any noisy example straight to a sample: one evaluation from pure noise, two for more detail.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. method: from scratch, or distilled from an edm that is trained
    first. coarse, fine: noise levels between which it learns to be consistent, at the beginning and in the end.
    """
    if fine < coarse:
        raise OptionError(f"consistency: fine={fine} is below coarse={coarse}; the levels become finer in training.")
    path, deviation = Plain(), deviation_of(data)

    teacher = None
    if method == "distillation":
        teacher = Diffusion(
            timed_network(data, width, depth, attention),
            path,
            preconditioned(deviation),
            log_normal(),
            weighting=unit_variance(deviation),
            box=box_of(data),
            labelled=data.classes > 0,
        )
        teacher.spec = data
    model = Consistency(
        timed_network(data, width, depth, attention),
        path,
        boundary(deviation, path.low),
        log_normal(),
        teacher=teacher,
        coarse=coarse,
        fine=fine,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model
