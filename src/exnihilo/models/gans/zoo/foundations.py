"""The first adversarial networks: fully connected, and convolutional."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, recipe
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.networks import connected, leaky
from exnihilo.models.gans.objectives import minimax, nonsaturating
from exnihilo.models.gans.outputs import output
from exnihilo.models.gans.recipes import NOT_TEXT, Rate, Width, adversarial, calm, calm_adam, lazy_r1, sized
from exnihilo.models.gans.tricks import InstanceNoise, flipped
from exnihilo.nets.dcgan import Activation, StridedCritic, StridedGenerator


@adversarial("Generative Adversarial Nets", "Goodfellow et al., 2014", arxiv="1406.2661")
def gan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    objective: Literal["nonsaturating", "minimax"] = "nonsaturating",
    critic_steps: Annotated[int, 1, 100] = 1,
    penalty: Annotated[float, 0, 1000] = 2.0,
    rate: Rate | None = None,
    critic_rate: Rate | None = None,
) -> GAN:
    """A generator learns to pass for data before a critic that learns to tell the two apart, both fully connected.

    Three hidden layers each; `critic_steps` is the paper's k. Unlike the paper's: Gaussian latents, leaky rectifiers
    for maxout and dropout, Adam for momentum, and R1 of weight `penalty` in each fourth round (0: none). Caution:
    without it the critic soon knows a small data set by heart, and the generator learns nothing more from it.
    """
    width, rate = sized(data, width, rate)
    return GAN(
        nn.Sequential(connected(data, (latent,), data.shape, width), output(data)),
        connected(data, data.shape, (1,), width),
        latent=latent,
        objective={"nonsaturating": nonsaturating, "minimax": minimax}[objective],
        critic_steps=critic_steps,
        **calm(data, rate, penalty, critic_rate),
    )


@recipe(
    "Unsupervised Representation Learning with Deep Convolutional GANs",
    "Radford et al., 2016",
    arxiv="1511.06434",
    kinds=("image",),
    unfit={"text": NOT_TEXT},
)
def dcgan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 64,
    width: Annotated[int, 4, 1024] = 32,
    norm: Literal["batch", "group", "none"] = "batch",
    critic_norm: Literal["spectral", "batch", "none"] = "spectral",
    pool: Literal["strided", "pooling"] = "strided",
    head: Literal["convolutional", "dense"] = "convolutional",
    activation: Literal["rectifier", "tanh"] = "rectifier",
    instance_noise: Annotated[float, 0, 10] = 0.0,
    flips: Annotated[float, 0, 0.5] = 0.0,
    dropout: Annotated[float, 0, 0.9] = 0.0,
    penalty: Annotated[float, 0, 1000] = 0.05,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
    critic_rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> GAN:
    """Strided convolutions, batch normalisation and no fully connected layers: the guidelines that made GANs work.

    Weights from N(0, 0.02^2), `width` channels at half the side and doubling from there. `norm`, `pool`, `head` and
    `activation` switch the guidelines off one by one; instance_noise (its scale, falling to 0), `flips` (share of the
    critic's labels exchanged) and `dropout` (of the generator) are known tricks. Unlike the paper's: a critic
    of spectral instead of batch normalisation, with R1 of weight `penalty` in each sixteenth round; Adam at 1e-3 with
    betas (0, 0.99) and a falling rate for 2e-4 with (0.5, 0.999); Gaussian latents, 64 for 100. The paper's critic is
    critic_norm=batch with penalty=0 (a gradient per example means little where a batch is normalised together).
    """
    pooled, dense = pool == "pooling", head == "dense"
    rising: Activation = nn.Tanh if activation == "tanh" else nn.ReLU
    leaking: Activation = nn.Tanh if activation == "tanh" else leaky
    generator = StridedGenerator(
        latent, data.shape, width, normalisation=norm, pooled=pooled, dense=dense, activation=rising, dropout=dropout
    )
    critic = StridedCritic(data.shape, width, normalisation=critic_norm, pooled=pooled, dense=dense, activation=leaking)
    return GAN(
        nn.Sequential(generator, output(data)),
        critic,
        latent=latent,
        objective=flipped(nonsaturating, flips) if flips else nonsaturating,
        penalties=lazy_r1(penalty, 16, data),
        sight=InstanceNoise(instance_noise) if instance_noise else None,
        optimizer=calm_adam(rate),
        critic_optimizer=calm_adam(critic_rate),
    )
