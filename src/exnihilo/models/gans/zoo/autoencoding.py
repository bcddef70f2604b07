"""Adversarial networks whose critic is an autoencoder."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec
from exnihilo.models.gans.autoencoding import (
    BoundaryEquilibriumGAN,
    autoencoding_critic,
    bottleneck,
    mean_absolute,
    root_mean_square,
)
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.latents import Uniform
from exnihilo.models.gans.networks import generator_for
from exnihilo.models.gans.objectives import margin_energy
from exnihilo.models.gans.penalties import PullingAway
from exnihilo.models.gans.recipes import Rate, Width, adversarial, calm, sized


@adversarial("Energy-based Generative Adversarial Networks", "Zhao et al., 2017", arxiv="1609.03126")
def ebgan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    code: Annotated[int, 1, 1024] | None = None,
    margin: Annotated[float, 1e-6, 1e6] | None = None,
    apart: Annotated[float, 0, 1000] | None = None,
    penalty: Annotated[float, 0, 1000] = 0.3,
    rate: Rate | None = None,
) -> GAN:
    """The critic is an autoencoder that restores data well, and samples badly, up to a margin.

    e(x) + relu(margin - e(G(z))) against e(G(z)), e the root mean squared error; the generator's samples are
    also kept apart in code, by weight `apart`. code, margin, apart, none: of pictures a fifth of their numbers (at most
    32), 0.3 and 1, else 8, 1 and 0.5. Unlike the paper's: R1 of weight `penalty` in each fourth round, and more than
    its 0.1 to keep samples apart, with which ring8 kept 1 to 5 modes of eight, not all. Caution: a margin far below the
    error of an untrained critic pushes nothing away; one far above it drowns the data; a long code restores anything,
    and tells nothing apart.
    """
    width, rate = sized(data, width, rate)
    picture = data.kind == "image"
    margin = (0.3 if picture else 1.0) if margin is None else margin
    apart = (1.0 if picture else 0.5) if apart is None else apart
    game = GAN(
        generator_for(data, latent, width),
        autoencoding_critic(data, bottleneck(data, code), width, root_mean_square),
        latent=latent,
        objective=margin_energy(margin),
        contents={"apart": PullingAway(apart)} if apart else None,
        **calm(data, rate, penalty),
    )
    game.coupled = apart > 0  # angles between the examples of a batch
    return game


@adversarial(
    "BEGAN: Boundary Equilibrium Generative Adversarial Networks", "Berthelot et al., 2017", arxiv="1703.10717"
)
def began(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    code: Annotated[int, 1, 1024] | None = None,
    diversity: Annotated[float, 0.01, 1] | None = None,
    step: Annotated[float, 1e-9, 1] | None = None,
    apart: Annotated[float, 0, 1000] | None = None,
    penalty: Annotated[float, 0, 1000] | None = None,
    rate: Rate | None = None,
) -> BoundaryEquilibriumGAN:
    """An autoencoder as critic, whose errors on data and on samples are held in a ratio by a controller.

    L(x) - k L(G(z)) against L(G(z)), L the mean absolute error; k moves by `step` (diversity L(x) - L(G(z))).
    diversity, step, apart, penalty, none: of pictures 0.7, 0.05, 1 and 0, else 1, 0.5, 2 and 0.3. Unlike the paper's:
    samples are kept apart in code by weight `apart`, as ebgan's are - without, digits are all one (Frechet ratio 190,
    with it 12), and ring8 keeps one mode of eight, with it three to five; R1 of weight `penalty` in each fourth round;
    step 1e-3 and Adam at 1e-4, halved by hand, there, over many more rounds. Caution: kinds of examples that are easily
    restored crowd out the others.
    """
    width, rate = sized(data, width, rate)
    usual = (0.7, 0.05, 1.0, 0.0) if data.kind == "image" else (1.0, 0.5, 2.0, 0.3)
    asked = (diversity, step, apart, penalty)
    diversity, step, apart, penalty = (u if a is None else a for a, u in zip(asked, usual, strict=True))
    game = BoundaryEquilibriumGAN(
        generator_for(data, latent, width),
        autoencoding_critic(data, bottleneck(data, code), width, mean_absolute),
        latent=Uniform(latent),
        diversity=diversity,
        step=step,
        contents={"apart": PullingAway(apart)} if apart else None,
        **calm(data, rate, penalty),
    )
    game.coupled = apart > 0  # angles between the examples of a batch
    return game
