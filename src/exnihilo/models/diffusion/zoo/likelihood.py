"""Diffusions that are trained by, or for, the variational bound on the likelihood."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from exnihilo.core import DataSpec, ModelError, recipe
from exnihilo.models.diffusion.binomial import BinomialDiffusion
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.networks import TIMED, box_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import predict_noise, predict_v
from exnihilo.models.diffusion.times import LossAware, stratified
from exnihilo.models.diffusion.variational import FourierFeatures, VariationalDiffusion
from exnihilo.probability.learned_paths import LearnedBetas, LearnedSNR
from exnihilo.probability.schedules import Discrete, cosine_betas


@recipe("Improved Denoising Diffusion Probabilistic Models", "Nichol & Dhariwal, 2021", arxiv="2102.09672", kinds=TIMED)
def improved_ddpm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    objective: Literal["hybrid", "bound"] = "hybrid",
) -> LearnedVariance:
    """Noise told at 1000 levels of a cosine, and the variance of each step learned too: few steps are enough.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. objective: hybrid makes the better samples; bound the better
    likelihood, looking most at those levels that cost most. Unlike the paper's: 1000 levels, not 4000.
    """
    path = Discrete(cosine_betas())
    model = LearnedVariance(
        timed_network(data, width, depth, attention, outputs=2),
        path,
        predict_noise,
        LossAware(path.steps) if objective == "bound" else None,
        hybrid=objective == "hybrid",
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Deep Unsupervised Learning using Nonequilibrium Thermodynamics",
    "Sohl-Dickstein et al., 2015",
    arxiv="1503.03585",
    kinds=TIMED,
)
def diffusion_2015(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    levels: Annotated[int, 20, 1000] = 100,
) -> LearnedVariance:
    """The first diffusion model: means, variances and the levels of noise themselves learned by the bound.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. levels: of noise. Of bits see `binomial_diffusion`. Unlike the
    paper's: the mean is read from the velocity v, and the network is a U-Net. Caution: the bound weighs detail that
    nobody sees, so samples are worse than `ddpm`'s.
    """
    model = LearnedVariance(
        timed_network(data, width, depth, attention, outputs=2),
        LearnedBetas(levels, first=max(1e-4, (data.step / 4) ** 2)),
        predict_v,
        hybrid=False,
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model


@recipe(
    "Deep Unsupervised Learning using Nonequilibrium Thermodynamics",
    "Sohl-Dickstein et al., 2015",
    arxiv="1503.03585",
    kinds=("image", "vector"),
)
def binomial_diffusion(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
    levels: Annotated[int, 2, 1000] = 100,
) -> BinomialDiffusion:
    """Bits that turn into coins one share at a time, and a network that tells what they were.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. levels: of noise; the bits of one step are drawn independently, so
    with few levels or steps what belongs together is torn apart.
    """
    if data.levels != 2:
        raise ModelError(
            f"binomial_diffusion models bits, and these {data.kind} data have {data.levels or 'no'} levels."
            f" Use diffusion_2015{', or load the pictures with levels=2' if data.kind == 'image' else ''}."
        )
    model = BinomialDiffusion(timed_network(data, width, depth, attention), levels, labelled=data.classes > 0)
    model.optimizer = network_optimizer(data, width)
    return model


@recipe("Variational Diffusion Models", "Kingma et al., 2021", arxiv="2107.00630", kinds=TIMED)
def vdm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 0,
) -> VariationalDiffusion:
    """Trained by the bound on the likelihood in bits per dimension, with the noise schedule learned beside it.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. Unlike the paper's: a U-Net that halves the sides, for the data's
    number of levels scaled Fourier features, and the schedule learns in each 8th round only.
    """
    fine = round(math.log2(data.levels)) if data.discrete else 0
    exponents = (fine - 1, fine) if data.discrete else ()
    path = LearnedSNR(2 * math.log(data.step / 6)) if data.discrete else LearnedSNR()  # -13.3 of 256 levels, as theirs
    network = timed_network(data, width, depth, attention, inputs=1 + 2 * len(exponents))
    model = VariationalDiffusion(
        FourierFeatures(network, exponents),
        path,
        predict_v,
        stratified,
        mass=data.discrete,
        box=box_of(data),
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model
