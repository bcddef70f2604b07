"""Adversarial networks that learn codes: an encoder joins the game, or comes after it."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec
from exnihilo.models.autoencoders.choose import encoder_for
from exnihilo.models.gans.conditions import TOLD, ConditionalGenerator, Told, require_classes
from exnihilo.models.gans.encoders import AEGAN, ALI, PairCritic, Point
from exnihilo.models.gans.hybrids import IAN, VAEGAN, AlphaGAN, Introspection
from exnihilo.models.gans.matching import CVAEGAN, ConditionalEncoder
from exnihilo.models.gans.networks import DEPTH, channels, connected, critic_for, generator_for, leaky, pair_for
from exnihilo.models.gans.outputs import output
from exnihilo.models.gans.penalties import Orthogonal
from exnihilo.models.gans.recipes import Rate, Width, adversarial, calm, sized
from exnihilo.nets.mlp import MLP
from exnihilo.nets.multiscale import MultiscaleGenerator
from exnihilo.probability.distributions import DiagonalNormal


def code_length(data: DataSpec, latent: int | None) -> int:
    """As asked; None: 32, or as many numbers as x has where these are fewer."""
    return min(32, data.size) if latent is None else latent


def multiscale(data: DataSpec, latent: int, width: int) -> nn.Module:
    """Of pictures: blocks that see them at several scales."""
    return nn.Sequential(MultiscaleGenerator(latent, data.shape, max(1, channels(width) // 2)), output(data))


@adversarial("Adversarially Learned Inference", "Dumoulin et al., 2017", arxiv="1606.00704")
def ali(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    encoder: Literal["deterministic", "stochastic"] = "deterministic",
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> ALI:
    """A critic of pairs, examples with their codes or samples with theirs: the encoder inverts the generator.

    Adversarially learned inference, or BiGAN (Donahue et al., 2017) with its encoder=deterministic; stochastic draws
    z ~ N(m(x), diag v(x)), as ALI does. Codes are as long as x where that is short: an encoder cannot fill more
    dimensions than it is given, and the critic would see it. Unlike the papers': R1 of weight `penalty` in each fourth
    round, Adam without momentum at a falling rate; no dropout. Caution: a reconstruction is of the same kind before it
    is the same.
    """
    width, rate = sized(data, width, rate)
    latent, chance = code_length(data, latent), encoder == "stochastic"
    return ALI(
        generator_for(data, latent, width),
        PairCritic(critic_for(data, width, outputs=width), data.shape, latent, width),
        encoder_for(data, (2, latent) if chance else (latent,), width, DEPTH),
        latent=latent,
        family=DiagonalNormal.of if chance else Point,
        **calm(data, rate, penalty),
    )


@adversarial(
    "Learning Inverse Mapping by AutoEncoder Based Generative Adversarial Nets", "Luo et al., 2017", arxiv="1703.10094"
)
def aegan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    penalty: Annotated[float, 0, 1000] = 1.0,
    share: Annotated[float, 0.01, 0.99] = 0.3,
    rate: Rate | None = None,
) -> AEGAN:
    """A game first; then, with the generator frozen, an encoder learns to make its samples again.

    E ||G(z) - G(E(G(z)))||^2 with z ~ N(0, I), in the last `share` of the training. Not the AEGAN of four networks
    (Lazarou, 2020). Unlike the paper's: R1 of weight `penalty`, a falling rate. Caution: of examples that the
    generator cannot make, it makes the wrong ones.
    """
    width, rate = sized(data, width, rate)
    latent = code_length(data, latent)
    return AEGAN(
        *pair_for(data, latent, width),
        encoder_for(data, (latent,), width, DEPTH),
        latent=latent,
        share=share,
        **calm(data, rate, penalty),
    )


@adversarial(
    "Variational Approaches for Auto-Encoding Generative Adversarial Networks", "Rosca et al., 2017", arxiv="1706.04987"
)
def alpha_gan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    weight: Annotated[float, 0, 1000] = 10.0,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> AlphaGAN:
    """An autoencoder whose samples please one critic, and whose codes please another that knows N(0, I).

    `weight` is lambda, of the mean absolute difference of x and its reconstruction. Codes are as long as x where that
    is short, or the second critic could not be pleased. Unlike the paper's: R1 of weight `penalty` in each fourth
    round, Adam without momentum at a falling rate. Caution: a large weight blurs, a small one forgets.
    """
    width, rate = sized(data, width, rate)
    latent = code_length(data, latent)
    return AlphaGAN(
        *pair_for(data, latent, width),
        encoder_for(data, (latent,), width, DEPTH),
        connected(data, (latent,), (1,), width),
        latent=latent,
        weight=weight,
        **calm(data, rate, penalty),
    )


@adversarial("Autoencoding beyond Pixels Using a Learned Similarity Metric", "Larsen et al., 2016", arxiv="1512.09300")
def vaegan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    gamma: Annotated[float, 0, 1000] = 0.03,
    beta: Annotated[float, 0, 1000] = 0.02,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> VAEGAN:
    """A variational autoencoder that compares what a critic sees of examples, not their entries.

    `gamma` weighs that likeness for the generator against passing for real. `beta` weighs the divergence, 1 in the
    paper: our critic, kept smooth by R1 of weight `penalty` in each fourth round, has features so small that a code
    would hardly be worth its nats. Also unlike the paper's: the last hidden layer for the third convolution, Adam
    without momentum at a falling rate for RMSProp.
    """
    width, rate = sized(data, width, rate)
    latent = code_length(data, latent)
    return VAEGAN(
        *pair_for(data, latent, width),
        encoder_for(data, (2, latent), width, DEPTH),
        latent=latent,
        gamma=gamma,
        beta=beta,
        **calm(data, rate, penalty),
    )


@adversarial(
    "CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training", "Bao et al., 2017", arxiv="1703.10155"
)
def cvae_gan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    kl: Annotated[float, 0, 1000] = 0.3,
    means: Annotated[float, 0, 1000] = 1.0,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> CVAEGAN:
    """An autoencoder told the class, whose samples match what critic and classifier see of examples on average.

    `kl` and `means` weigh the divergence and the matching of means, beside reconstructions at 1. One in ten classes is
    hidden in training, so it also answers when no class is asked for; what it codes without a label it classifies
    first. Needs labels. Unlike the paper's: R1 of weight `penalty`, and means that run over ten batches. Caution: no
    score teaches the generator, so what the critic's features do not show may look wrong.
    """
    width, rate = sized(data, width, rate)
    require_classes(data, "cvae_gan")
    latent = code_length(data, latent)
    return CVAEGAN(
        ConditionalGenerator(generator_for(data, latent + TOLD, width), Told(data, width)),
        critic_for(data, width),
        ConditionalEncoder(encoder_for(data, (2, latent), width, DEPTH, vector=TOLD), Told(data, width)),
        critic_for(data, width, outputs=data.classes),
        latent=latent,
        classes=data.classes,
        kl=kl,
        means=means,
        **calm(data, rate, penalty),
    )


@adversarial("Neural Photo Editing with Introspective Adversarial Networks", "Brock et al., 2017", arxiv="1609.07093")
def ian(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    pixels: Annotated[float, 0, 1000] = 10.0,
    features: Annotated[float, 0, 1000] = 1.0,
    kl: Annotated[float, 0, 1000] = 1e-2,
    orthogonal: Annotated[float, 0, 1000] = 1e-5,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> IAN:
    """An encoder that sits on the critic, who tells reals, reconstructions and samples apart.

    `pixels`, `features`, `kl` and `orthogonal` weigh the mean absolute difference of x and its reconstruction, that of
    the critic's hidden layers (squared), the divergence, and |W W^T - I| of the generator's weights; what passes for
    real weighs 1. Pictures are made by multiscale dilated blocks, `width` / 16 channels at the full side. Unlike the
    paper's: codes are read from all hidden layers of the critic, not the last; pixels=10 for 3; R1 of weight `penalty`;
    layer for batch normalisation; without the options of an inverse autoregressive flow and of colour channels given
    each other. Caution: the encoder is no better than what the critic looks at.
    """
    width, rate = sized(data, width, rate)
    latent = code_length(data, latent)
    makes = multiscale(data, latent, width) if data.kind == "image" else generator_for(data, latent, width)
    judges = critic_for(data, width, outputs=3)
    sees = Introspection(judges, data.shape)
    return IAN(
        makes,
        judges,
        sees,
        nn.Sequential(nn.LayerNorm(sees.size), MLP((sees.size,), (2, latent), width, 1, activation=leaky)),
        latent=latent,
        pixels=pixels,
        features=features,
        kl=kl,
        contents={"orthogonal": Orthogonal(makes, orthogonal)},
        **calm(data, rate, penalty),
    )
