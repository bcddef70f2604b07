"""The two systems that the others vary: noise predicted over discrete levels, and velocity on straight paths."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, recipe
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.discrete import DenoisingDiffusion
from exnihilo.models.diffusion.networks import TIMED, box_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import predict_noise, predict_velocity
from exnihilo.models.diffusion.times import logit_normal, stratified
from exnihilo.probability.paths import Straight
from exnihilo.probability.schedules import Discrete, cosine_betas, linear_betas


@recipe("Denoising Diffusion Probabilistic Models", "Ho, Jain & Abbeel, 2020", arxiv="2006.11239", kinds=TIMED)
def ddpm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    schedule: Literal["linear", "cosine"] = "linear",
) -> DenoisingDiffusion:
    """A network that tells the noise in a noisy example, at 1000 levels of noise; samples by taking it away in steps.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. schedule: cosine destroys small pictures more slowly.
    """
    model = DenoisingDiffusion(
        timed_network(data, width, depth, attention),
        Discrete(linear_betas() if schedule == "linear" else cosine_betas()),
        predict_noise,
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe("Flow Matching for Generative Modeling", "Lipman et al., 2023", arxiv="2210.02747", kinds=TIMED)
def flow_matching(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    times: Literal["logit_normal", "uniform"] = "logit_normal",
    density: bool = False,
) -> ContinuousDiffusion:
    """A network that tells the velocity with which examples travel straight to noise; samples by travelling back.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. times: logit_normal trains the middle of the way most. density: of
    data in levels, learn them spread over their steps, so that the model states a likelihood; samples are then noisier.
    """
    model = ContinuousDiffusion(
        timed_network(data, width, depth, attention),
        Straight(),
        predict_velocity,
        logit_normal() if times == "logit_normal" else stratified,
        density=density or data.continuous,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model
