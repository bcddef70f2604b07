"""Adversarial networks that are told what to make, or that find out what can be asked for."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec
from exnihilo.models.gans.classes import ClassGAN, asked_class, naming_critic_for, separate
from exnihilo.models.gans.conditions import (
    ConditionalGAN,
    Telling,
    conditional_critic_for,
    conditional_generator_for,
    require_classes,
    require_something_told,
)
from exnihilo.models.gans.information import READING, InfoGAN, ReadingCritic
from exnihilo.models.gans.latents import Codes
from exnihilo.models.gans.networks import critic_for, generator_for
from exnihilo.models.gans.recipes import Latent, Rate, Weight, Width, adversarial, calm, sized


@adversarial("Conditional Generative Adversarial Nets", "Mirza & Osindero, 2014", arxiv="1411.1784")
def cgan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    critic: Telling = "projection",
    penalty: Weight = 0.5,
    rate: Rate | None = None,
) -> ConditionalGAN:
    """Both players are told the class, attributes, or any vector or picture given, so samples can be asked for.

    One in ten conditions is hidden in training, so it also draws what is not asked. Unlike the paper's: a critic that
    scores by psi(f(x)) + e(y) . f(x) (Miyato & Koyama, 2018, arXiv:1802.05637), which listens better than one that x
    and y are joined for, critic=concatenation; R1 of weight `penalty` in each fourth round; Adam without momentum.
    """
    width, rate = sized(data, width, rate)
    require_something_told(data, "cgan")
    return ConditionalGAN(
        conditional_generator_for(data, latent, width),
        conditional_critic_for(data, width, critic),
        latent=latent,
        conditional=True,
        **calm(data, rate, penalty),
    )


@adversarial("Conditional Image Synthesis with Auxiliary Classifier GANs", "Odena et al., 2017", arxiv="1610.09585")
def acgan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    weight: Weight = 1.0,
    penalty: Weight = 0.3,
    rate: Rate | None = None,
) -> ClassGAN:
    """The critic also names the class, of reals and fakes, and the generator makes what it will name rightly.

    weight: of the class terms. Caution: samples that are easily named are rewarded, so classes that overlap are pushed
    apart and narrowed; `cgan` is not. Unlike the paper's: R1 of weight `penalty` in each fourth round.
    """
    width, rate = sized(data, width, rate)
    require_classes(data, "acgan")
    return ClassGAN(
        conditional_generator_for(data, latent, width),
        naming_critic_for(data, width, 1 + data.classes),
        head=separate,
        target=asked_class,
        of_fakes=True,
        weight=weight,
        latent=latent,
        conditional=True,
        **calm(data, rate, penalty),
    )


@adversarial(
    "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
    "Chen et al., 2016",
    arxiv="1606.03657",
)
def infogan(
    data: DataSpec,
    *,
    categories: Annotated[int, 2, 1000] = 10,
    continuous: Annotated[int, 0, 100] = 2,
    latent: Latent = 8,
    width: Width | None = None,
    weight: Weight = 1.0,
    continuous_weight: Weight = 0.01,
    penalty: Weight = 0.5,
    rate: Rate | None = None,
) -> InfoGAN:
    """Part of the latents must stay readable in the samples, so without labels they become kinds and degrees.

    One code of so many `categories`, `continuous` ones and `latent` numbers of noise. `encode` reads the codes of
    examples, `clusters` their category. Unlike the paper's: R1 of weight `penalty` in each fourth round, Adam without
    momentum. Caution: much noise, or a large continuous_weight, and categories mix what a person would tell apart.
    """
    width, rate = sized(data, width, rate)
    codes = Codes((categories,), continuous, latent)
    return InfoGAN(
        generator_for(data, codes.width, width),
        ReadingCritic(critic_for(data, width, outputs=1 + READING), codes),
        latent=codes,
        weight=weight,
        continuous_weight=continuous_weight,
        **calm(data, rate, penalty),
    )
