"""Networks for energies and scores: learned by Markov chains, with classes, by score matching, by contrast to noise."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, ModelError, OptionError, adam, cosine, recipe
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.choose import encoder_for
from exnihilo.models.classical.mixture import FittedMixture
from exnihilo.models.diffusion.networks import timed_network
from exnihilo.models.energy import scores
from exnihilo.models.energy.contrast import NoiseContrastive
from exnihilo.models.energy.replay import DeepEnergyModel, Dynamics, JointEnergyModel, Replay
from exnihilo.models.energy.scores import Matching, ScoreModel
from exnihilo.models.gans.networks import spectral
from exnihilo.probability.chains import Kernel
from exnihilo.probability.jacobians import WHOLE
from exnihilo.probability.kernels import HMC, Energy, Langevin, mala, score_of, shortened

Width = Annotated[int, 4, 4096]
Depth = Annotated[int, 1, 32]
Steps = Annotated[int, 1, 10_000]
Step = Annotated[float, 1e-8, 4]
Size = Annotated[float, 0, 100]
Chains = Annotated[int, 64, 1_000_000]
Share = Annotated[float, 0, 1]
Rate = Annotated[float, 1e-7, 1]
Sigma = Annotated[float, 1e-6, 1e6]
KernelName = Literal["langevin", "mala", "hmc"]

FULL = 256  # entries up to which the covariances of a contrast are whole matrices
NOT_TEXT = (
    "chains follow the slope of a density, and between tokens there is none; a model with a likelihood learns text"
)

#: `@continuous(title, authors, arxiv=...)`: a recipe for every kind of data that has slopes.
continuous = partial(recipe, kinds=("image", "vector", "table", "series"), unfit={"text": NOT_TEXT})


def energy_network(data: DataSpec, width: int, depth: int, *, outputs: int = 1, normalised: bool = False) -> nn.Module:
    """[B, *data.shape] -> [B, outputs] with SiLU, whose slopes have slopes; convolutions for larger pictures.

    normalised: every weight is divided by its largest singular value.
    """
    network = encoder_for(data, (outputs,), width, depth)
    return spectral(network) if normalised else network


def dynamics_for(data: DataSpec, kernel: KernelName, step: float) -> Dynamics:
    """The chain by name; `step` is the variance of what one step adds (of `hmc`, one of five leaps)."""
    longest = 2 * math.sqrt(data.size / step)  # a drift as long as the noise: steeper slopes would make it run away

    def langevin(energy: Energy) -> Kernel:
        return Langevin(shortened(score_of(energy), longest), step)

    def adjusted(energy: Energy) -> Kernel:
        return mala(energy, step)

    def hamiltonian(energy: Energy) -> Kernel:
        return HMC(energy, math.sqrt(step), leaps=5)

    return {"langevin": langevin, "mala": adjusted, "hmc": hamiltonian}[kernel]


def clipped_adam(rate: float) -> OptimizerFactory:
    """Adam without momentum, because the chains that it chases follow it; Du & Mordatch, 2019."""
    return adam(rate, betas=(0.0, 0.999), clip=1.0, schedule=cosine(warmup=0.03, hold=0.3))


@continuous("Implicit Generation and Modeling with Energy-Based Models", "Du & Mordatch, 2019", arxiv="1903.08689")
def ebm(
    data: DataSpec,
    *,
    width: Width = 128,
    depth: Depth = 2,
    kernel: KernelName = "hmc",
    steps: Steps = 4,
    step: Step = 0.01,
    size: Size = 1e-3,
    noise: Share = 0.05,
    chains: Chains = 4096,
    fresh: Share = 0.05,
    spectral_norm: bool = False,
    rate: Rate = 3e-3,
) -> DeepEnergyModel:
    """A network lowers the energy of data and raises that of what Markov chains along its slope find."""
    return DeepEnergyModel(
        energy_network(data, width, depth, normalised=spectral_norm),
        data.shape,
        Replay(chains, data.size, fresh),
        dynamics=dynamics_for(data, kernel, step),
        steps=steps,
        size=size,
        noise=noise,
        optimizer=clipped_adam(rate),
    )


@continuous(
    "Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One",
    "Grathwohl et al., 2020",
    arxiv="1912.03263",
)
def jem(
    data: DataSpec,
    *,
    width: Width = 128,
    depth: Depth = 2,
    kernel: KernelName = "hmc",
    steps: Steps = 4,
    step: Step = 0.01,
    size: Size = 1e-3,
    noise: Share = 0.05,
    chains: Chains = 4096,
    fresh: Share = 0.05,
    rate: Rate = 3e-3,
) -> JointEnergyModel:
    """A classifier whose logits are minus energies, so that it also knows what its classes look like."""
    if data.classes < 2:
        raise ModelError(
            f"jem needs labels, and these data have {'one class only' if data.classes else 'none'}. Name the column"
            " with -d label=COLUMN, or sort the pictures into one folder per class. Without labels: ebm."
        )
    return JointEnergyModel(
        energy_network(data, width, depth, outputs=data.classes),
        data.shape,
        Replay(chains, data.size, fresh),
        dynamics=dynamics_for(data, kernel, step),
        steps=steps,
        size=size,
        noise=noise,
        optimizer=clipped_adam(rate),
    )


@continuous(
    "Generative Modeling by Estimating Gradients of the Data Distribution", "Song & Ermon, 2019", arxiv="1907.05600"
)
def score_matching(
    data: DataSpec,
    *,
    method: Literal["denoising", "implicit", "sliced", "sliced_vr"] = "denoising",
    width: Width = 16,
    depth: Depth = 1,
    levels: Annotated[int, 1, 1000] = 32,
    smallest: Sigma = 0.01,
    largest: Sigma | None = None,
    rate: Rate = 1e-3,
) -> ScoreModel:
    """A network learns the slope of the log-density of the data at every level of noise, and samples climb it."""
    if method == "implicit" and data.size > WHOLE:
        raise OptionError(
            f"score_matching: method=implicit differentiates every entry by itself, so at most {WHOLE} are allowed;"
            f" these data have {data.size}. Use method=sliced_vr, which estimates the same, or denoising."
        )
    if largest is not None and largest <= smallest and levels > 1:
        raise OptionError(
            f"score_matching: the noise falls from largest={largest:g} to smallest={smallest:g}, which must be less."
            " Leave largest out to have it measured, or use levels=1 for one level."
        )
    matchings: dict[str, Matching] = {
        "denoising": scores.denoising,
        "implicit": scores.implicit,
        "sliced": scores.sliced,
        "sliced_vr": scores.sliced_vr,
    }
    return ScoreModel(
        timed_network(replace(data, classes=0, attributes=()), width, depth),
        data.shape,
        matchings[method],
        levels=levels,
        smallest=smallest,
        largest=largest,
        optimizer=adam(rate, betas=(0.9, 0.99), clip=1.0, schedule=cosine()),
    )


@continuous(
    "Noise-contrastive estimation: A new estimation principle for unnormalized statistical models",
    "Gutmann & Hyvarinen, 2010",
)
def nce(
    data: DataSpec,
    *,
    width: Width = 128,
    depth: Depth = 2,
    components: Annotated[int, 1, 1024] = 10,
    ratio: Annotated[int, 1, 1000] = 10,
    rate: Rate = 1e-3,
) -> NoiseContrastive:
    """A network learns the density, its constant included, by telling data from noise of a known density."""
    return NoiseContrastive(
        energy_network(data, width, depth),
        FittedMixture(data.size, components, "full" if data.size <= FULL else "diag"),
        ratio=ratio,
        optimizer=adam(rate, clip=1.0, schedule=cosine(warmup=0.03, hold=0.3)),
    )
