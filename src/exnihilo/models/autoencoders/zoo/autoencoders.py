"""Plain autoencoders, each with another reason why its code should be good."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from exnihilo.core import DataSpec, OptionError, adam, adamw, cosine, recipe
from exnihilo.models.autoencoders.choose import decoder_for, encoder_for, likelihood_for
from exnihilo.models.autoencoders.corruptions import Corruption, GaussianNoise, Masking, SaltAndPepper
from exnihilo.models.autoencoders.denoising import DenoisingAutoencoder
from exnihilo.models.autoencoders.linear import Centred, LinearAutoencoder, Transposed, Uncentred
from exnihilo.models.autoencoders.penalties import Contraction, KeepLargest, Penalty, SigmoidContraction, Sparsity
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.models.autoencoders.stacked import StackedAutoencoder, layers
from exnihilo.models.classical.family import bottleneck
from exnihilo.probability.likelihoods import Likelihood, SquaredError

NUMERIC = ("image", "vector", "table", "series")
FULL_BATCH = 4096  # examples, up to which the linear autoencoder sees all of them at every step


def error_of(data: DataSpec) -> Likelihood:
    """What is to be small: the squared error; of a table the negative log-likelihood of every column."""
    return likelihood_for(data) if data.kind == "table" else SquaredError()


@recipe(
    "Neural Networks and Principal Component Analysis: Learning from Examples without Local Minima",
    "Baldi & Hornik, 1989",
    kinds=NUMERIC,
)
def linear_autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] | None = None,
    tied: bool = False,
    rate: Annotated[float, 1e-7, 1] = 3e-2,
) -> LinearAutoencoder:
    """One linear layer there and one back: it finds the principal subspace, by gradients alone.

    Some 500 steps, on all examples at once (4096 at a time where there are more). `latent` must be less than x has
    numbers; without one 16, or one less. `tied` gives both layers the same weight.
    """
    encoder = Centred(data.size, bottleneck("linear_autoencoder", data, latent))
    return LinearAutoencoder(
        encoder,
        Uncentred(encoder, data.shape, tied),
        SquaredError(),
        optimizer=adam(rate, betas=(0.9, 0.99), schedule=cosine()),
        batch=min(FULL_BATCH, data.examples or FULL_BATCH),
    )


@recipe("Greedy Layer-Wise Training of Deep Networks", "Bengio et al., 2007", kinds=NUMERIC)
def stacked_autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 16,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    noise: Annotated[float, 0, 1] = 0.0,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> StackedAutoencoder:
    """Each layer first learns to restore what it reads, the layers below at rest; then all learn together.

    Fully connected: depth layers of width, half of it, a quarter ..., then a linear code. Half of the training goes to
    the layers. `noise` hides that share of what each layer reads while it learns (Vincent et al., 2010).
    """
    likelihood = error_of(data)
    encoder, decoder = layers(data.shape, likelihood.shape(data.shape), latent, width, depth)
    hidden = Masking(noise) if noise else None
    return StackedAutoencoder(encoder, decoder, likelihood, layer_corruption=hidden, optimizer=adamw(rate))


CorruptionName = Literal["gaussian", "masking", "salt_pepper"]


@recipe(
    "Stacked Denoising Autoencoders: Learning Useful Representations in a Deep Network",
    "Vincent et al., 2010",
    kinds=NUMERIC,
)
def denoising_autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 128,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 1, 16] = 2,
    corruption: CorruptionName = "gaussian",
    sigma: Annotated[float, 1e-3, 10] = 0.5,
    share: Annotated[float, 0.01, 0.99] = 0.25,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> DenoisingAutoencoder:
    """Restores examples from spoilt ones, and so learns where the data lie, how to get there and how to sample them.

    sigma: of Gaussian noise, in model space; share: of the entries that masking or salt and pepper hits. The code may
    be longer than the data: the noise keeps it from copying.
    """
    likelihood = likelihood_for(data, "gaussian" if data.kind != "table" and data.levels != 2 else "auto")
    model = DenoisingAutoencoder(
        encoder_for(data, (latent,), width, depth),
        decoder_for(data, (latent,), likelihood.shape(data.shape), width, depth),
        likelihood,
        corruption_for(data, corruption, sigma, share),
        optimizer=adamw(rate),
    )
    if any(column.missing for column in data.columns):  # no score where an entry may be empty
        model.withdrawn = model.withdrawn | {"score"}
    return model


def corruption_for(data: DataSpec, name: CorruptionName, sigma: float, share: float) -> Corruption:
    """By name. Masked entries take the lowest level (black, 0), where there are none the mean."""
    if name == "gaussian":
        return GaussianNoise(sigma)
    if name == "masking":
        return Masking(share, data.low if data.levels else 0.0)
    if not data.levels:
        raise OptionError(
            "corruption=salt_pepper sets entries to the least and the greatest value, and these data have none. Use"
            " corruption=gaussian or masking."
        )
    return SaltAndPepper(share, data.low)


@recipe("CS294A Lecture Notes: Sparse Autoencoder", "Ng, 2011", kinds=NUMERIC)
def sparse_autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 100,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 0, 16] = 0,
    activity: Annotated[float, 1e-3, 0.5] = 0.05,
    weight: Annotated[float, 0, 1e4] = 3.0,
    keep: Annotated[int, 1, 4096] | None = None,
    rate: Annotated[float, 1e-7, 1] = 3e-3,
) -> Autoencoder:
    """A long code of which only a few units are active for any example, so that each comes to mean something.

    Sigmoid units, kept active for a share `activity` of the data by a penalty of a `weight`. With `keep` instead the k
    largest of a linear code stay and the others are zero (Makhzani & Frey, 2014, arXiv:1312.5663). depth 0: one layer.
    """
    if keep is not None and keep > latent:
        raise OptionError(
            f"sparse_autoencoder: keep={keep} of latent={latent} is not allowed. Use keep={latent} or less."
        )
    likelihood = error_of(data)
    last = nn.Sigmoid() if keep is None else KeepLargest(keep)
    penalties: dict[str, Penalty] = {} if keep else {"sparsity": Sparsity(activity, weight)}
    return Autoencoder(
        nn.Sequential(encoder_for(data, (latent,), width, depth), last),
        decoder_for(data, (latent,), likelihood.shape(data.shape), width, depth),
        likelihood,
        penalties=penalties,
        optimizer=adamw(rate),
        batch=256,
    )


@recipe("Contractive Auto-Encoders: Explicit Invariance During Feature Extraction", "Rifai et al., 2011", kinds=NUMERIC)
def contractive_autoencoder(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 4096] = 64,
    width: Annotated[int, 4, 4096] = 384,
    depth: Annotated[int, 0, 16] = 0,
    weight: Annotated[float, 0, 1e4] = 0.1,
    probes: Annotated[int, 0, 64] = 1,
    rate: Annotated[float, 1e-7, 1] = 1e-3,
) -> Autoencoder:
    """The code is made to move as little as it can when x moves; what is left moves along the data.

    depth 0: one sigmoid layer and its transpose, the penalty in closed form. Deeper: its estimate by `probes` random
    directions an example, 0 for the exact norm; its decoder is not tied, so a small code can cheat the penalty.
    Caution: to restore k directions of x a tied layer of slopes s needs |W|^2 = k / s, hence |dh/dx|^2 = k s, which
    falls as units saturate or directions are given up: on digits half the norm costs 64 units six times the error.
    """
    likelihood = error_of(data)
    penalty: Penalty
    if depth == 0:
        layer = nn.Linear(data.size, latent)
        encoder, penalty = nn.Sequential(nn.Flatten(), layer, nn.Sigmoid()), SigmoidContraction(layer, weight)
        decoder: nn.Module = Transposed(layer, data.shape)
    else:
        encoder = nn.Sequential(encoder_for(data, (latent,), width, depth), nn.Sigmoid())
        penalty = Contraction(weight, probes)
        decoder = decoder_for(data, (latent,), likelihood.shape(data.shape), width, depth)
    model = Autoencoder(encoder, decoder, likelihood, penalties={"contraction": penalty}, optimizer=adamw(rate))
    model.compilable = depth == 0
    return model
