"""The first adversarial networks: fully connected, and convolutional."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, adam, cosine, recipe
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.objectives import minimax, nonsaturating
from exnihilo.models.gans.outputs import output
from exnihilo.models.gans.penalties import R1, Penalty
from exnihilo.nets.dcgan import StridedCritic, StridedGenerator
from exnihilo.nets.layers import Norm
from exnihilo.nets.mlp import MLP


def r1(weight: float, every: int) -> dict[str, Penalty]:
    """R1 of this weight as the only penalty, or none at weight 0."""
    return {"r1": R1(weight, every)} if weight else {}


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

    Three hidden layers each. Unlike the paper's: Gaussian latents, Adam for momentum, no dropout in the critic, and R1
    with weight `penalty` (0: none), without which the critic wins on small data and the generator learns nothing more.
    """
    leaky = partial(nn.LeakyReLU, 0.2)
    return GAN(
        nn.Sequential(MLP((latent,), data.shape, width, 3, activation=leaky), output(data)),
        MLP(data.shape, (1,), width, 3, activation=leaky),
        latent=latent,
        objective={"nonsaturating": nonsaturating, "minimax": minimax}[objective],
        penalties=r1(penalty, every=4),
        critic_steps=critic_steps,
        optimizer=adam(rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0)),
        critic_optimizer=adam(critic_rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0)),
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
    """Strided convolutions, batch normalisation and no fully connected layers: the adversarial game made to work."""
    generator = nn.Sequential(StridedGenerator(latent, data.shape, width, normalisation=norm), output(data))
    return GAN(
        generator,
        StridedCritic(data.shape, width, normalisation=critic_norm),
        latent=latent,
        penalties=r1(penalty, every=16),
        optimizer=adam(rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0)),
        critic_optimizer=adam(critic_rate, betas=(0.0, 0.99), schedule=cosine(warmup=0.0, hold=0.0)),
    )
