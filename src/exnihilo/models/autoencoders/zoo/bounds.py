"""Variational autoencoders that differ in what they minimise: weighted, importance-weighted, of observed entries."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, adamw, recipe
from exnihilo.models.autoencoders.choose import LikelihoodName, decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.estimators import CapacityELBO, Estimator, ImportanceWeighted, WeightedELBO
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.gaps import has_gaps
from exnihilo.models.autoencoders.priors import StandardNormal
from exnihilo.models.autoencoders.unobserved import MIWAE
from exnihilo.models.autoencoders.zoo.foundations import NUMERIC


@recipe("beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework", "Higgins et al., 2017",
        kinds=NUMERIC)  # fmt: skip
def beta_vae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    beta: Annotated[float, 0, 1e5] = 4.0,
    warm_up: Annotated[float, 0, 1] = 0.0,
    free_bits: Annotated[float, 0, 100] = 0.0,
    capacity: Annotated[float, 0, 1e4] | None = None,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """The divergence weighs beta times: above 1 the code says less, in fewer and more independent units.

    warm_up: beta rises from 0 over this share of the training. free_bits: nats per unit that cost nothing (Kingma et
    al., 2016). capacity: beta |KL - C|, C from 0 to so many nats over the first half (Burgess et al., 2018,
    arXiv:1804.03599, who take beta = 1000); then warm_up and free_bits are not used. The bound that it reports has
    beta = 1.
    """
    head = likelihood_for(data, likelihood)
    estimator: Estimator = WeightedELBO(beta, warm_up, free_bits) if capacity is None else CapacityELBO(beta, capacity)
    return VAE(
        encoder_for(data, (2, latent), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        estimator=estimator,
        optimizer=adamw(rate),
    )


@recipe("Importance Weighted Autoencoders", "Burda, Grosse & Salakhutdinov, 2016", arxiv="1509.00519", kinds=NUMERIC)
def iwae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    k: Annotated[int, 1, 5000] = 10,
    gradient: Literal["iwae", "dreg"] = "dreg",
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> VAE:
    """k draws of the code for each example make a tighter bound, and a step about k times as dear for the decoder.

    gradient=dreg is the doubly reparameterised one of Tucker et al., 2019, arXiv:1810.04152; iwae is the paper's.
    Judge it by its bound with k: the posterior is vaguer than a VAE's, so with one draw it looks worse.
    """
    head = likelihood_for(data, likelihood)
    return VAE(
        encoder_for(data, (2, latent), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        estimator=ImportanceWeighted(k, gradient),
        optimizer=adamw(rate),
    )


@recipe("MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets", "Mattei & Frellsen, 2019",
        arxiv="1812.02633", kinds=NUMERIC)  # fmt: skip
def miwae(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 10,
    width: Annotated[int, 4, 4096] = 128,
    depth: Annotated[int, 1, 16] = 2,
    k: Annotated[int, 1, 5000] = 20,
    drop: Annotated[float, 0, 0.95] | None = None,
    likelihood: LikelihoodName = "auto",
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> MIWAE:
    """Learns from the observed entries alone, and imputes the others by importance sampling.

    drop: share of the entries (of tables, of the columns) left out at random in every step, none where the data have
    gaps of their own and half where they are complete, so that it learns to impute. Numbers have Gaussian heads, where
    the paper has Student's t.
    """
    head = likelihood_for(data, likelihood)
    share = drop if drop is not None else 0.0 if has_gaps(data) else 0.5
    return MIWAE(
        encoder_for(data, (2, latent), width, depth),
        decoder_for(data, (latent,), head.shape(data.shape), width, depth),
        head,
        StandardNormal((latent,)),
        estimator=ImportanceWeighted(k, "dreg"),
        drop=share,
        optimizer=adamw(rate),
    )
