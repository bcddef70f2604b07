"""Autoencoders that even out what the data hold unevenly."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, ModelError, adamw, recipe
from exnihilo.models.autoencoders.choose import decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.debiased import Combine, DebiasedVAE
from exnihilo.models.autoencoders.priors import StandardNormal


@recipe(
    "Uncovering and Mitigating Algorithmic Bias through Learned Latent Structure",
    "Amini et al., 2019",
    kinds=("image", "vector", "table"),
)
def db_vae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 16,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    debias: str | None = None,
    combine: Combine = "max",
    weight: Annotated[float, 0, 1e6] = 50.0,
    resamplings: Annotated[int, 1, 1000] = 10,
    bins: Annotated[int, 2, 1000] = 10,
    smoothing: Annotated[float, 1e-9, 1e9] = 0.001,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> DebiasedVAE:
    """A classifier that is also a VAE, trained the more often on an example the rarer its code is.

    Needs labels. debias: the class whose hidden groups are evened out (the paper's faces); none = every class, each
    within itself. Large `smoothing`, or combine=uniform, turns the resampling off; `weight` is that of the class
    against the bound, both in nats.
    """
    if data.classes < 2:
        raise ModelError(
            "db_vae learns to name classes, and these data have none. Say where the labels are, such as"
            " -d label=COLUMN."
        )
    debiased = [debias is None or number == data.class_index(debias) for number in range(data.classes)]
    head = likelihood_for(data)
    return DebiasedVAE(
        encoder_for(data, (data.classes + 2 * latent,), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        debiased=debiased,
        weight=weight,
        resamplings=resamplings,
        bins=bins,
        smoothing=smoothing,
        combine=combine,
        optimizer=adamw(rate),
    )
