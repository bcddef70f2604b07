"""Adversarial networks of a chosen divergence, a chosen distance of density ratios, or the critic's boundary."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec
from exnihilo.models.gans.discrete import DiscreteGAN, logits_for
from exnihilo.models.gans.divergences import ORDER, SHARE, divergence_table, divergences
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.networks import critic_for, pair_for
from exnihilo.models.gans.objectives import (
    boundary_seeking,
    bregman,
    kl_ratio,
    logistic_ratio,
    pearson_ratio,
)
from exnihilo.models.gans.recipes import Rate, Width, adversarial, calm, sized

#: The rows of the table, in its order.
Name = Literal[
    "total_variation", "kl", "reverse_kl", "pearson", "neyman", "hellinger", "jeffrey", "jensen_shannon",
    "weighted_jensen_shannon", "gan", "alpha",
]  # fmt: skip


@adversarial(
    "f-GAN: Training Generative Neural Samplers using Variational Divergence Minimization",
    "Nowozin et al., 2016",
    arxiv="1606.00709",
    table=divergence_table(),
)
def fgan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    divergence: Name = "jensen_shannon",
    share: Annotated[float, 0.01, 0.99] = SHARE,
    order: Annotated[float, -2, 3] = ORDER,
    generator: Literal["alternative", "bound"] = "alternative",
    penalty: Annotated[float, 0, 1000] = 0.3,
    rate: Rate | None = None,
) -> GAN:
    """Any f-divergence between data and samples: the critic raises a lower bound on it, the generator lowers that.

    E g(s(x)) - E f*(g(s(G(z)))) <= D(p, q), minus the critic's loss; `exnihilo show fgan` prints the table.
    generator=alternative raises E g(s(G(z))) instead, which also moves where the critic is sure. Unlike the paper's:
    scores bent into (-10, 10) and gradients cut at length 1, as some rows grow like e^s, and R1 of weight `penalty` in
    each fourth round. Caution: the bound is only as tight as the critic is good, so it says little across runs.
    """
    width, rate = sized(data, width, rate)
    chosen = divergences(share, order)[divergence]
    return GAN(
        *pair_for(data, latent, width),
        latent=latent,
        objective=chosen.objective(alternative=generator == "alternative", limit=10.0),
        **calm(data, rate, penalty, clip=1.0),
    )


RATIOS = {"pearson": pearson_ratio, "kl": kl_ratio, "logistic": logistic_ratio}


@adversarial(
    "Generative Adversarial Nets from a Density Ratio Estimation Perspective", "Uehara et al., 2016", arxiv="1610.02920"
)
def bregman_gan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    distance: Literal["pearson", "kl", "logistic"] = "logistic",
    relative: Annotated[float, 0, 0.9] = 0.2,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> GAN:
    """The critic estimates how much denser data are than samples at a point; the generator evens that ratio out.

    The critic minimises E_m[h'(r) r - h(r)] - E_p h'(r), the generator E h(r(G(z))), r a positive function of the score
    that estimates p / m, m = relative p + (1 - relative) q. Unlike the paper's: softplus for r, gradients cut at length
    1, and R1 of weight `penalty` in each fourth round. Caution: least squares (pearson) and kl pull samples to ratio 1
    only weakly where they are too dense; logistic draws them on.
    """
    width, rate = sized(data, width, rate)
    return GAN(
        *pair_for(data, latent, width),
        latent=latent,
        objective=bregman(RATIOS[distance], relative=relative),
        **calm(data, rate, penalty, clip=1.0),
    )


@adversarial("Boundary-Seeking Generative Adversarial Networks", "Hjelm et al., 2018", arxiv="1702.08431")
def bgan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    discrete_up_to: Annotated[int, 0, 256] = 2,
    draws: Annotated[int, 2, 1000] = 20,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> GAN:
    """Samples move to where the critic cannot tell; of discrete data, by draws weighted with the critic's ratio.

    E s(G(z))^2 / 2 for the generator, 0 where p = q. Data of at most `discrete_up_to` levels are drawn level by level,
    `draws` of them for each latent, and -E sum_m w_m log g(x_m | z) is minimised, w_m proportional to e^s(x_m); more
    levels count as continuous. Unlike the paper's: Adam at 1e-3 for 1e-4, and R1 of weight `penalty` in each fourth
    round. Caution: the pull ends at the critic's boundary, wherever that is, so samples may stay around a mode.
    """
    width, rate = sized(data, width, rate)
    usual = calm(data, rate, penalty)
    if 0 < data.levels <= discrete_up_to:
        return DiscreteGAN(
            logits_for(data, latent, width), critic_for(data, width), latent=latent, draws=draws, **usual
        )
    return GAN(*pair_for(data, latent, width), latent=latent, objective=boundary_seeking, **usual)
