"""Models of the score, the gradient of the log-density of noisy data, in continuous time or on a ladder of noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from exnihilo.core import DataSpec, recipe
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.networks import TIMED, box_of, deviation_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import preconditioned, predict_noise, scaled_noise
from exnihilo.models.diffusion.times import discrete, from_least, log_normal
from exnihilo.models.diffusion.weightings import evenly, likelihood, unit_variance
from exnihilo.nets.layers import Fourier, RandomFourier
from exnihilo.nets.time_embedding import TimeFeatures
from exnihilo.probability.learned_paths import NoiseLadder
from exnihilo.probability.paths import Path, Plain, SubVariancePreserving, VarianceExploding, VariancePreserving

#: What becomes of the variance on the way to the noise.
SDES: dict[str, Callable[[], Path]] = {
    "vp": VariancePreserving,
    "sub_vp": SubVariancePreserving,
    "ve": lambda: VarianceExploding(high=None),
}
#: Deviation of the random frequencies with which the exploding path's network sees its time. The paper's 16 are of the
#: logarithm of the noise level, over 100 of the time: then times so near as 0.01 look unrelated, and each is learnt by
#: itself (digits, 40 seconds: Frechet ratio 43; with 16 of the time 1.45, with sinusoids 1.30).
FREQUENCIES = 16.0


@recipe(
    "Generative Modeling by Estimating Gradients of the Data Distribution",
    "Song & Ermon, 2019",
    arxiv="1907.05600",
    kinds=TIMED,
)
def ncsn(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    levels: Annotated[int, 20, 1000] = 100,
) -> Diffusion:
    """The score of the data at a ladder of noise levels; samples climb it by Langevin dynamics, the noise falling.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. levels: of noise, from the largest distance between two examples
    down to 0.01. Each step of sampling takes 5 of Langevin's. Unlike the paper's: the ladder and the last step, which
    takes the noise away, are those of its sequel (arXiv:2006.09011).
    """
    model = Diffusion(
        timed_network(data, width, depth, attention),
        NoiseLadder(levels),
        scaled_noise(deviation_of(data)),
        discrete(levels),
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.levels, model.solver = levels, "langevin"
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Score-Based Generative Modeling through Stochastic Differential Equations",
    "Song et al., 2021",
    arxiv="2011.13456",
    kinds=TIMED,
)
def score_sde(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    sde: Literal["vp", "sub_vp", "ve"] = "vp",
    weighting: Literal["noise", "likelihood"] = "noise",
    density: bool = False,
) -> ContinuousDiffusion:
    """The score of the data at all times of an SDE that turns them into noise; samples by that SDE turned round.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. sde: the variance is kept at 1 (vp), below it (sub_vp, the best
    likelihoods) or explodes (ve). weighting: of all noise levels alike, or as the likelihood weighs them. density: of
    data in levels, learn them spread over their steps, so that the model states a likelihood; samples are then noisier.
    """
    path = SDES[sde]()
    features: TimeFeatures = partial(RandomFourier, scale=FREQUENCIES) if sde == "ve" else Fourier
    model = ContinuousDiffusion(
        timed_network(data, width, depth, attention, features=features, scale=0.5**0.5),
        path,
        scaled_noise(deviation_of(data)) if sde == "ve" else predict_noise,
        from_least(path.least),
        density=density or data.continuous,
        weighting=evenly if weighting == "noise" else likelihood,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Elucidating the Design Space of Diffusion-Based Generative Models",
    "Karras et al., 2022",
    arxiv="2206.00364",
    kinds=TIMED,
)
def edm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    density: bool = False,
) -> ContinuousDiffusion:
    """The clean data, the network's input, target and loss scaled to be alike at all levels of noise.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. density: of data in levels, learn them spread over their steps, so
    that the model states a likelihood; samples are then noisier. The paper's sampler: solver=heun spacing=karras
    steps=18.
    """
    deviation = deviation_of(data)
    model = ContinuousDiffusion(
        timed_network(data, width, depth, attention),
        Plain(),
        preconditioned(deviation),
        log_normal(),
        density=density or data.continuous,
        weighting=unit_variance(deviation),
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model
