"""Adversarial networks named after what their players minimise."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, cosine, rmsprop
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.networks import Scaled, critic_for, few, generator_for, pair_for
from exnihilo.models.gans.objectives import (
    hinge,
    hinge_cost,
    least_squares,
    logistic_cost,
    relativistic,
    relativistic_average,
    squared_cost,
    wasserstein,
)
from exnihilo.models.gans.penalties import GradientPenalty, WeightDecay, clip_weights
from exnihilo.models.gans.recipes import Latent, Rate, Weight, Width, adversarial, calm, calm_adam, lazy_r1, sized


@adversarial("Least Squares Generative Adversarial Networks", "Mao et al., 2017", arxiv="1611.04076")
def lsgan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    fake: Annotated[float, -10, 10] = 0.0,
    real: Annotated[float, -10, 10] = 1.0,
    target: Annotated[float, -10, 10] = 1.0,
    penalty: Weight = 1.0,
    rate: Rate | None = None,
) -> GAN:
    """Scores are regressed on codes of fake and real, so samples are drawn on even where the critic is sure.

    The best critic is (real p + fake q) / (p + q). fake=-1 real=1 target=0 minimises Pearson's chi-squared divergence
    of p + q from 2 q. Unlike the paper's: Adam without momentum, and R1 of weight `penalty` in each fourth round.
    """
    width, rate = sized(data, width, rate)
    return GAN(
        *pair_for(data, latent, width),
        latent=latent,
        objective=least_squares(fake, real, target),
        **calm(data, rate, penalty),
    )


@adversarial("Wasserstein Generative Adversarial Networks", "Arjovsky et al., 2017", arxiv="1701.07875")
def wgan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    clip: Annotated[float, 1e-6, 100] = 0.05,
    critic_steps: Annotated[int, 1, 100] = 2,
    rate: Rate | None = None,
) -> GAN:
    """The critic's weights are clipped to a box, so its gap between data and samples estimates a distance of transport.

    E s(G(z)) - E s(x), every weight in [-clip, clip]; `critic_steps` updates of the critic for one of the generator.
    Unlike the paper's: clip 0.01, five steps, and RMSProp at a constant 5e-5 there. Caution: a box is a crude way to be
    Lipschitz: a small one makes gradients vanish with depth, a large one takes long to fill.
    """
    width, rate = sized(data, width, rate, (256, 3e-4))
    critic = critic_for(data, width, normalisation="none")
    return GAN(
        generator_for(data, latent, width),
        critic,
        latent=latent,
        objective=wasserstein,
        critic_steps=critic_steps,
        after_critic=partial(clip_weights, critic, clip),
        optimizer=rmsprop(rate, schedule=cosine(warmup=0.0, hold=0.0)),
    )


@adversarial("Improved Training of Wasserstein GANs", "Gulrajani et al., 2017", arxiv="1704.00028")
def wgan_gp(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    penalty: Weight = 0.3,
    one_sided: bool = False,
    at: Literal["between", "real", "fake"] = "between",
    critic_steps: Annotated[int, 1, 100] = 2,
    rate: Rate | None = None,
) -> GAN:
    """A Wasserstein critic kept nearly 1-Lipschitz by a penalty on its gradient between data and samples.

    E s(G(z)) - E s(x) + penalty E (|grad s(u)| - 1)^2, u on the lines between them. Unlike the paper's: penalty 10 (0.1
    on toys), five critic steps, and Adam at 1e-4 with betas (0, 0.9) there. Caution: every critic update differentiates
    a gradient, so a round is slow; and of a batch-normalised critic there is no gradient per example.
    """
    width, rate = sized(data, width, rate)
    return GAN(
        *pair_for(data, latent, width),
        latent=latent,
        objective=wasserstein,
        penalties={"slope": GradientPenalty(penalty, one_sided=one_sided, at=at)},
        critic_steps=critic_steps,
        optimizer=calm_adam(rate),
    )


@adversarial("Geometric GAN", "Lim & Ye, 2017", arxiv="1705.02894")
def geometric_gan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    decay: Annotated[float, 0, 1] = 1e-3,
    clip: Annotated[float, 1e-6, 100] = 1.0,
    penalty: Weight = 0.3,
    rate: Rate | None = None,
) -> GAN:
    """The critic is a support vector machine on learnt features; samples move along the normal of its hyperplane.

    E relu(1 - s(x)) + E relu(1 + s(G(z))) + decay / 2 |w|^2, w the critic's last layer, all weights in [-clip, clip]:
    only examples inside the margin count. Unlike the paper's: Adam without momentum for RMSProp, and R1 of weight
    `penalty` in each fourth round.
    """
    width, rate = sized(data, width, rate)
    critic = critic_for(data, width, normalisation="none")
    return GAN(
        generator_for(data, latent, width),
        critic,
        latent=latent,
        objective=hinge,
        penalties={"decay": WeightDecay(critic.head, decay), **lazy_r1(penalty, 4, data)},
        after_critic=partial(clip_weights, critic, clip),
        optimizer=calm_adam(rate),
    )


@adversarial("Spectral Normalization for Generative Adversarial Networks", "Miyato et al., 2018", arxiv="1802.05957")
def sngan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    slope: Annotated[float, 0.1, 1000] | None = None,
    critic_steps: Annotated[int, 1, 100] = 2,
    rate: Rate | None = None,
) -> GAN:
    """A hinge critic whose every weight is divided by its largest singular value, so no slope is penalised.

    s is `slope`-Lipschitz up to the estimate of that value, one power iteration per pass; none: 1 as in the paper's, or
    30 for vectors of a few numbers, which lie so close that a slope of 1 never reaches the hinge's margins. Unlike the
    paper's: Adam at 2e-4 with betas (0.5, 0.999) or (0, 0.9), and five critic steps there. Caution: of a convolution
    the reshaped weight is bounded, not the operator; and what cannot be steep needs many rounds for fine detail.
    """
    width, rate = sized(data, width, rate, (256, 2e-3))
    critic = critic_for(data, width, normalisation="spectral")
    return GAN(
        generator_for(data, latent, width),
        nn.Sequential(critic, Scaled(slope or (30.0 if few(data) else 1.0))),
        latent=latent,
        objective=hinge,
        critic_steps=critic_steps,
        optimizer=calm_adam(rate),
    )


COSTS = {"nonsaturating": logistic_cost, "least_squares": squared_cost, "hinge": hinge_cost}


@adversarial("The Relativistic Discriminator", "Jolicoeur-Martineau, 2019", arxiv="1807.00734")
def ragan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    variant: Literal["nonsaturating", "least_squares", "hinge"] = "nonsaturating",
    compare: Literal["average", "pairs"] = "average",
    penalty: Weight = 0.3,
    rate: Rate | None = None,
) -> GAN:
    """The critic says how much more real data look than samples; the generator wants it to be the other way round.

    E cost(s(x) - E s(G(z))) + E cost(E s(x) - s(G(z))), the roles swapped for the generator; compare=pairs: E cost(s(x)
    - s(G(z))). Unlike the paper's: Adam without momentum at 1e-3 for 2e-4, and R1 of weight `penalty` in each fourth
    round. Caution: scores mean nothing by themselves, only their differences do; batches cannot be accumulated.
    """
    width, rate = sized(data, width, rate)
    cost = COSTS[variant]
    return GAN(
        *pair_for(data, latent, width),
        latent=latent,
        objective=relativistic_average(cost) if compare == "average" else relativistic(cost),
        **calm(data, rate, penalty),
    )
