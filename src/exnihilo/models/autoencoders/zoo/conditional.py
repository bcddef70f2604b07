"""Variational autoencoders that know classes: conditional and semi-supervised ones."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, ModelError, adamw, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import ConditionalNormal, Prior, StandardNormal
from exnihilo.models.autoencoders.semisupervised import SemiSupervisedVAE
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC
from exnihilo.nets.layers import Condition

TOLD = 16  # numbers in which a network is told of the class and attributes


def condition_for(data: DataSpec, model: str) -> Condition:
    """What tells of the classes and attributes of the data; a ModelError where there are neither."""
    if not data.classes and not data.attributes:
        raise ModelError(
            f"{model} needs labels, and these data have none. Name the column with label=COLUMN, or sort the pictures"
            " into one folder per class. Without labels, use vae or gmvae."
        )
    return Condition(data.classes, len(data.attributes), TOLD)


@recipe("Learning Structured Output Representation using Deep Conditional Generative Models",
        "Sohn, Lee & Yan, 2015", kinds=NUMERIC)  # fmt: skip
def cvae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    prior: Literal["normal", "learned"] = "normal",
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """The class and attributes enter encoder and decoder, so samples can be asked for; the code is left the style.

    prior=learned makes p(z | class) a Gaussian per class. One in ten labels is hidden in training, so that it codes
    examples of unknown class too. Needs labels or attributes.
    """
    head, condition = likelihood_for(data, likelihood), condition_for(data, "cvae")
    prior_of_codes: Prior = ConditionalNormal(TOLD, latent) if prior == "learned" else StandardNormal((latent,))
    return VAE(
        encoder_for(data, (2, latent), width, depth, vector=TOLD),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth, vector=TOLD),
        head,
        prior_of_codes,
        condition=condition,
        optimizer=adamw(rate),
    )


@recipe("Semi-Supervised Learning with Deep Generative Models", "Kingma et al., 2014", arxiv="1406.5298",
        kinds=NUMERIC)  # fmt: skip
def m2(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    weight: Annotated[float, 0, 1e6] = 10.0,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> SemiSupervisedVAE:
    """The class is a latent that is known of some examples: it classifies from few labels, and draws by class.

    weight: of the classifier's cross-entropy on labelled examples (the paper's alpha, there a tenth of the number of
    examples). Its model M1 is a classifier on the codes of `vae`: `exnihilo represent`. Needs some labels.
    """
    if not data.classes:
        condition_for(DataSpec(data.kind, data.shape), "m2")
    head, condition = likelihood_for(data, likelihood), Condition(data.classes, 0, TOLD)
    return SemiSupervisedVAE(
        encoder_for(data, (2, latent), width, depth, vector=TOLD),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth, vector=TOLD),
        head,
        StandardNormal((latent,)),
        encoder_for(data, (data.classes,), width, depth),
        condition=condition,
        weight=weight,
        optimizer=adamw(rate),
    )
