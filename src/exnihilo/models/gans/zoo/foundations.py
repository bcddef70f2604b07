"""The first adversarial networks: fully connected, and convolutional."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, adam, cosine, recipe
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.objectives import minimax, nonsaturating
from exnihilo.models.gans.outputs import output
from exnihilo.models.gans.penalties import R1, Penalty
from exnihilo.nets.dcgan import StridedCritic, StridedGenerator
from exnihilo.nets.mlp import MLP


def lazy_r1(weight: float, every: int) -> dict[str, Penalty]:
    """R1 of this weight in every so many rounds as the only penalty, or none at weight 0."""
    return {"r1": R1(weight, every)} if weight else {}


def calm_adam(rate: float) -> OptimizerFactory:
    """Adam without momentum, which overshoots in a game, its rate falling along half a cosine."""
    return adam(rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0))


@recipe("Generative Adversarial Nets", "Goodfellow et al., 2014", arxiv="1406.2661")
def gan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Annotated[int, 4, 4096] = 256,
    objective: Literal["nonsaturating", "minimax"] = "nonsaturating",
    critic_steps: Annotated[int, 1, 100] = 1,
    penalty: Annotated[float, 0, 1000] = 2.0,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
    critic_rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> GAN:
    """A generator learns to pass for data before a critic that learns to tell the two apart, both fully connected.

    Three hidden layers each; `critic_steps` is the paper's k. Unlike the paper's: Gaussian latents, leaky rectifiers
    for maxout and dropout, Adam for momentum, and R1 of weight `penalty` in each fourth round (0: none). Caution:
    without it the critic soon knows a small data set by heart, and the generator learns nothing more from it.
    """
    leaky = partial(nn.LeakyReLU, 0.2)
    return GAN(
        nn.Sequential(MLP((latent,), data.shape, width, 3, activation=leaky), output(data)),
        MLP(data.shape, (1,), width, 3, activation=leaky),
        latent=latent,
        objective={"nonsaturating": nonsaturating, "minimax": minimax}[objective],
        penalties=lazy_r1(penalty, every=4),
        critic_steps=critic_steps,
        optimizer=calm_adam(rate),
        critic_optimizer=calm_adam(critic_rate),
    )


@recipe(
    "Unsupervised Representation Learning with Deep Convolutional GANs",
    "Radford et al., 2016",
    arxiv="1511.06434",
    kinds=("image",),
)
def dcgan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 64,
    width: Annotated[int, 4, 1024] = 32,
    norm: Literal["batch", "group", "none"] = "batch",
    critic_norm: Literal["spectral", "batch", "none"] = "spectral",
    penalty: Annotated[float, 0, 1000] = 0.05,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
    critic_rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> GAN:
    """Strided convolutions, batch normalisation and no fully connected layers: the guidelines that made GANs work.

    Weights from N(0, 0.02^2), `width` channels at half the side and doubling from there. Unlike the paper's: a critic
    of spectral instead of batch normalisation, with R1 of weight `penalty` in each sixteenth round; Adam at 1e-3 with
    betas (0, 0.99) and a falling rate for 2e-4 with (0.5, 0.999); Gaussian latents, 64 for 100. The paper's critic is
    critic_norm=batch with penalty=0 (a gradient per example means little where a batch is normalised together).
    """
    generator = nn.Sequential(StridedGenerator(latent, data.shape, width, normalisation=norm), output(data))
    return GAN(
        generator,
        StridedCritic(data.shape, width, normalisation=critic_norm),
        latent=latent,
        penalties=lazy_r1(penalty, every=16),
        optimizer=calm_adam(rate),
        critic_optimizer=calm_adam(critic_rate),
    )
