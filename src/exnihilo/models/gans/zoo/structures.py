"""Several generators that share layers, a picture's levels, or a critic."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, cast

from torch import nn

from exnihilo.core import DataSpec, ModelError, recipe
from exnihilo.models.autoencoders.choose import convolutional
from exnihilo.models.gans.coupled import CoGAN, CoupledCritic, CoupledGenerator, alike, apart
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.latents import Uniform
from exnihilo.models.gans.networks import DEPTH, channels, connected, critic_for, generator_for, leaky
from exnihilo.models.gans.objectives import margin as ranked_scores
from exnihilo.models.gans.outputs import output
from exnihilo.models.gans.penalties import clip_weights
from exnihilo.models.gans.pyramid import LAPGAN, BandCritic, Refiner, keeping_side, sides
from exnihilo.models.gans.ranked import GoGAN, Ranking
from exnihilo.models.gans.recipes import NOT_TEXT, Rate, Width, adversarial, calm, calm_adam, lazy_r1, sized
from exnihilo.models.gans.zoo.foundations import gan
from exnihilo.nets.dcgan import StridedGenerator
from exnihilo.nets.layers import norm
from exnihilo.nets.mlp import MLP


@adversarial("Coupled Generative Adversarial Networks", "Liu & Tuzel, 2016", arxiv="1606.07536")
def cogan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    start: Literal["alike", "apart"] | None = None,
    penalty: Annotated[float, 0, 1000] = 5.0,
    rate: Rate | None = None,
    critic_rate: Rate | None = None,
) -> CoGAN:
    """Corresponding samples of several domains, learnt without pairs: generators share first layers, critics last.

    The classes of the data are the domains. A domain's own are the generator's last layer and the critic's first, as
    for the paper's digits; all other layers are one for all domains. `label` chooses the domain, the same seed with
    another label gives the counterpart. start: the own layers' first weights, equal (counterparts are the same to begin
    with) or apart as the paper's; none: apart for pictures, whose own layers see 3 x 3 pixels and can do little else
    than correspond, alike for other data, which else often correspond the wrong way round. Unlike the paper's: R1 of
    weight `penalty` in each fourth round. Caution: own layers run for every domain on every example.
    """
    width, rate = sized(data, width, rate)
    if data.classes < 2:
        raise ModelError(
            f"cogan couples domains, told apart by their labels, and these data have {data.classes or 'no'} class"
            f"{'' if data.classes else 'es'}. Give each example its domain as label (pictures: a folder for each;"
            " tables: label=COLUMN), or use gan."
        )
    if data.kind == "image":
        c = max(4, channels(width) // 2)
        inner = replace(data, shape=(c, *data.shape[1:]))
        trunk = nn.Sequential(StridedGenerator(latent, inner.shape, c), norm("batch", c), nn.ReLU())
        head: nn.Module = nn.Conv2d(c, data.shape[0], 3, padding=1)
        entry: nn.Module = nn.Conv2d(data.shape[0], c, 3, padding=1)
    else:
        inner = replace(data, shape=(width,))
        trunk = nn.Sequential(MLP((latent,), (width,), width, DEPTH - 1, activation=leaky), leaky())
        head, entry = MLP((width,), data.shape, width, 0), MLP(data.shape, (width,), width, 0)
    own = {"alike": alike, "apart": apart}[start or ("apart" if data.kind == "image" else "alike")]
    return CoGAN(
        CoupledGenerator(trunk, own(nn.Sequential(head, output(data)), data.classes)),
        CoupledCritic(own(nn.Sequential(entry, leaky()), data.classes), critic_for(inner, width)),
        latent=latent,
        conditional=True,
        **calm(data, rate, penalty, critic_rate),
    )


@recipe(
    "Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks",
    "Denton et al., 2015",
    arxiv="1506.05751",
    kinds=("image",),
    unfit={"text": NOT_TEXT},
)
def lapgan(
    data: DataSpec,
    *,
    levels: Annotated[int, 1, 8] | None = None,
    latent: Annotated[int, 1, 1024] = 32,
    width: Annotated[int, 4, 4096] = 256,
    penalty: Annotated[float, 0, 1000] = 0.3,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
    critic_rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> LAPGAN:
    """A tiny picture first, then the detail of each doubling of its side, by adversarial networks of their own.

    levels: doublings; none: from a side of 8 or less. The coarsest pictures are made by `gan`, every band h_k by three
    convolutions of the low-pass picture and a plane of uniform noise. Unlike the paper's: the critic sees l + h and l,
    not their sum alone, with R1 of weight `penalty` in each fourth round; for pictures of few numbers both players are
    fully connected (digits, 30 seconds: Frechet ratio 16, by convolutions 18); Adam for momentum; no classes.
    """
    found = sides((data.shape[1], data.shape[2]), levels)
    games = []
    for side in found[:-1]:
        spec = replace(data, shape=(data.shape[0], *side))
        pair = replace(spec, shape=(2 * data.shape[0], *side))
        if convolutional(data):
            maps = max(4, channels(width) * 8 // max(8, *side))  # about as costly on every level
            refines, judges = keeping_side(data.shape[0], maps), critic_for(pair, width)
        else:
            refines = connected(data, (data.shape[0] + 1, *side), spec.shape, width)
            judges = connected(data, pair.shape, (1,), width)
        game = GAN(
            Refiner(refines),
            BandCritic(judges),
            latent=Uniform(side[0] * side[1]),
            conditional=True,
            **calm(data, rate, penalty, critic_rate),
        )
        game.spec = spec
        games.append(game)
    coarsest = replace(data, shape=(data.shape[0], *found[-1]))
    first = gan(coarsest, latent=latent, width=width, rate=rate, critic_rate=critic_rate)
    return LAPGAN([*games, cast(GAN, first)])


@adversarial("Gang of GANs: Generative Adversarial Networks with Maximum Margin Ranking", "Juefei-Xu et al., 2017",
             arxiv="1704.04865")  # fmt: skip
def gogan(
    data: DataSpec,
    *,
    stages: Annotated[int, 1, 20] = 3,
    latent: Annotated[int, 1, 1024] = 32,
    width: Width | None = None,
    margin: Annotated[float, 0, 1000] = 1.0,
    ranking: Annotated[float, 0, 1000] = 1.0,
    clip: Annotated[float, 0, 10] = 0.0,
    penalty: Annotated[float, 0, 1000] = 2.0,
    critic_steps: Annotated[int, 1, 100] = 1,
    rate: Rate | None = None,
    critic_rate: Rate | None = None,
) -> GoGAN:
    """Stage by stage a generator that a margin critic must rank between the data and the generator before it.

    Real above new by `margin`, above old by twice that, the second wish `ranking` times as strong. Unlike the paper's:
    R1 of weight `penalty` in each fourth round keeps the critic smooth, where the paper clips its weights, which `clip`
    does as well (0: not), after five critic updates a round. Caution: every stage has an equal part of the training.
    """
    width, rate = sized(data, width, rate)
    critic = critic_for(data, width, normalisation="none" if clip else None)
    games: list[GAN] = []
    for _ in range(stages):
        game = GAN(
            generator_for(data, latent, width),
            critic,
            latent=latent,
            objective=ranked_scores(margin),
            penalties=lazy_r1(penalty, 4, data) | ({"ranking": Ranking(games[-1], margin, ranking)} if games else {}),
            critic_steps=critic_steps,
            after_critic=partial(clip_weights, critic, clip) if clip else None,
            optimizer=calm_adam(rate),
            critic_optimizer=calm_adam(critic_rate or rate),
        )
        game.spec = data
        games.append(game)
    return GoGAN(games)
