"""Many generators instead of one: boosted, or drawn from a posterior."""

from __future__ import annotations

from functools import partial
from typing import Annotated, cast

from exnihilo.core import DataSpec
from exnihilo.models.gans.ensembles import AdaGAN, BayesianGAN
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.networks import critic_for, generator_for
from exnihilo.models.gans.recipes import Rate, Width, adversarial, calm_adam, lazy_r1, sized
from exnihilo.models.gans.zoo.foundations import gan


@adversarial("AdaGAN: Boosting Generative Models", "Tolstikhin et al., 2017", arxiv="1701.02386")
def adagan(
    data: DataSpec,
    *,
    parts: Annotated[int, 1, 100] = 3,
    beta: Annotated[float, 1e-3, 1] | None = None,
    latent: Annotated[int, 1, 1024] = 32,
    width: Annotated[int, 4, 4096] = 64,
    penalty: Annotated[float, 0, 1000] = 0.5,
    rate: Annotated[float, 1e-7, 1] = 3e-3,
    critic_rate: Annotated[float, 1e-7, 1] = 3e-3,
) -> AdaGAN:
    """A mixture of generators, each learnt on the examples that those before it leave out.

    parts: of the mixture, each a `gan` of its own. beta: share of every part after the first, or none for equal shares.
    Between two parts a judge learns to tell data from the mixture, and its odds weigh the data for the next part.
    Caution: the training is shared out among the parts, so each learns for a fraction of it.
    """
    part = partial(gan, data, latent=latent, width=width, penalty=penalty, rate=rate, critic_rate=critic_rate)
    games = [cast(GAN, part()) for _ in range(parts)]
    return AdaGAN(games, [critic_for(data, width) for _ in range(parts - 1)], beta=beta)


@adversarial("Bayesian GAN", "Saatchi & Wilson, 2017", arxiv="1705.09558")
def bayesian_gan(
    data: DataSpec,
    *,
    generators: Annotated[int, 1, 100] = 4,
    critics: Annotated[int, 1, 100] = 1,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    penalty: Annotated[float, 0, 1000] = 1.0,
    prior: Annotated[float, 1e-3, 1e3] = 3.0,
    temperature: Annotated[float, 0, 10] = 0.01,
    burn_in: Annotated[float, 0.01, 0.99] = 0.95,
    sampler_rate: Annotated[float, 1e-7, 1] = 1e-3,
    rate: Rate | None = None,
) -> BayesianGAN:
    """Generators and critics drawn from the posterior over their weights, by Hamiltonian Monte Carlo on mini-batches.

    The chains start where Adam ends, after `burn_in` of the training. prior: the standard deviation of every weight.
    Unlike the paper's: four chains of generators for ten, and R1 of weight `penalty` as a prior of smooth critics,
    without which small data are not learnt. Caution: temperature 1 is the posterior itself, so wide on small data that
    samples blur; the default is a hundredth of it.
    """
    width, rate = sized(data, width, rate, (128, 1e-3))
    return BayesianGAN(
        [generator_for(data, latent, width) for _ in range(generators)],
        [critic_for(data, width) for _ in range(critics)],
        latent=latent,
        examples=data.examples,
        penalty=lazy_r1(penalty, 1, data).get("r1"),
        prior=prior,
        burn_in=burn_in,
        sampler_rate=sampler_rate,
        temperature=temperature,
        optimizer=calm_adam(rate),
    )
