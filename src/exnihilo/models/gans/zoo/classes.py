"""Adversarial networks whose critic names classes, from all labels, from few or from none."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec
from exnihilo.models.gans.classes import (
    CatGAN,
    ClassGAN,
    alone,
    asked_class,
    likeliest_class,
    naming_critic_for,
    one_more,
)
from exnihilo.models.gans.conditions import conditional_generator_for, require_classes
from exnihilo.models.gans.family import After, Content
from exnihilo.models.gans.networks import few, generator_for
from exnihilo.models.gans.objectives import smoothed
from exnihilo.models.gans.penalties import HistoricalAverage
from exnihilo.models.gans.recipes import Latent, Rate, Weight, Width, adversarial, calm, calm_adam, lazy_r1, sized
from exnihilo.models.gans.tricks import FeatureMatching, InstanceNoise, Referenced, led_by_contents


@adversarial("Improved Techniques for Training GANs", "Salimans et al., 2016", arxiv="1606.03498")
def improved_gan(
    data: DataSpec,
    *,
    latent: Latent = 32,
    width: Width | None = None,
    generator: Literal["features", "scores"] = "scores",
    kernels: Annotated[int, 0, 1000] = 0,
    smoothing: Annotated[float, 0, 0.5] = 0.1,
    history: Weight = 0.0,
    noise: Annotated[float, 0, 10] | None = None,
    norm: Literal["virtual", "batch", "none"] = "batch",
    weight: Weight = 0.3,
    penalty: Weight = 0.05,
    rate: Rate | None = None,
) -> ClassGAN:
    """Fakes are one more class of a classifier, which the generator is to pass or whose features it matches.

    Few labels are enough: examples of unknown class (-1) count as real, and without any classes the critic only tells
    real from fake. The paper's techniques are options: generator=features matches means of features instead, which
    makes the better classifier of few labels and the worse samples; `kernels` of minibatch discrimination (looks, not
    classes, gain), one-sided `smoothing`, `history` the weight of historical averaging, norm=virtual (of a generator of
    pictures; dear). weight: of the known classes. noise: on all that the critic sees, none: 0.5, which holds it from
    learning labels by heart, but 0 for a few numbers, whose modes it would blur. R1 of weight `penalty` is ours.
    """
    width, rate = sized(data, width, rate)
    noise = (0.0 if few(data) else 0.5) if noise is None else noise
    critic = naming_critic_for(data, width, max(data.classes, 1), kernels=kernels)
    maker: nn.Module = generator_for(data, latent, width, normalisation="none" if norm == "none" else "batch")
    if norm == "virtual":
        maker = Referenced(maker, latent)
    objective, penalties, contents = smoothed(1 - smoothing), lazy_r1(penalty, 4, data), dict[str, Content]()
    if generator == "features":
        objective, contents["features"] = led_by_contents(objective), FeatureMatching()
    after: list[After | None] = [None, None]
    if history:
        of_critic, of_maker = HistoricalAverage(critic, history), HistoricalAverage(maker, history)
        penalties["history"], contents["history"] = of_critic, of_maker
        after = [of_critic.move, of_maker.move]
    return ClassGAN(
        maker,
        critic,
        head=one_more if data.classes else alone,
        weight=weight,
        latent=latent,
        objective=objective,
        penalties=penalties,
        contents=contents,
        sight=InstanceNoise(noise, fades=False) if noise else None,
        after_critic=after[0],
        after_generator=after[1],
        optimizer=calm_adam(rate),
    )


@adversarial(
    "Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial Networks",
    "Springenberg, 2016",
    arxiv="1511.06390",
)
def catgan(
    data: DataSpec,
    *,
    categories: Annotated[int, 2, 1000] | None = None,
    latent: Latent = 32,
    width: Width | None = None,
    weight: Weight = 1.0,
    penalty: Weight = 0.3,
    rate: Rate | None = None,
) -> CatGAN:
    """The critic sorts the data into classes that it is sure of, and is to be unsure of fakes.

    categories=none: the classes of the data, whose known labels count with `weight`, or ten without labels. A number:
    so many clusters, without a look at labels; `clusters(x)` says which. Unlike the paper's: R1 of weight `penalty` in
    each fourth round.
    """
    width, rate = sized(data, width, rate)
    told = categories is None and data.classes > 1
    return CatGAN(
        generator_for(data, latent, width),
        naming_critic_for(data, width, categories or (data.classes if told else 10), bounded=True),
        weight=weight if told else 0.0,
        latent=latent,
        **calm(data, rate, penalty),
        batch=128,
    )


@adversarial("Activation Maximization Generative Adversarial Nets", "Zhou et al., 2018", arxiv="1703.02000")
def amgan(
    data: DataSpec,
    *,
    labels: Literal["predefined", "dynamic"] = "predefined",
    latent: Latent = 32,
    width: Width | None = None,
    weight: Weight = 1.0,
    penalty: Weight = 0.3,
    rate: Rate | None = None,
) -> ClassGAN:
    """One softmax of K classes and the fakes; each sample is to be of one class, not just of none that is fake.

    labels=predefined: the class asked of the generator, so samples can be asked for by class; dynamic: the one that a
    sample looks most like. Caution: dynamic labels can leave classes out. Unlike the paper's: R1 of weight `penalty`
    in each fourth round.
    """
    width, rate = sized(data, width, rate)
    require_classes(data, "amgan")
    asked = labels == "predefined"
    return ClassGAN(
        (conditional_generator_for if asked else generator_for)(data, latent, width),
        naming_critic_for(data, width, data.classes),
        head=one_more,
        target=asked_class if asked else likeliest_class,
        weight=weight,
        latent=latent,
        conditional=asked,
        **calm(data, rate, penalty),
    )
