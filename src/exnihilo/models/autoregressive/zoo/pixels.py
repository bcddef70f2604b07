"""Pixel by pixel: masked convolutions, gated stacks, shifted streams and recurrent layers over pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, ModelError, adamw, cosine, recipe
from exnihilo.models.autoregressive.colours import CoupledColours
from exnihilo.models.autoregressive.family import AutoregressiveLevels
from exnihilo.models.autoregressive.heads import class_condition, levels_head
from exnihilo.nets.gated import GatedPixelCNN
from exnihilo.nets.multistream import PixelStreams
from exnihilo.nets.pixels import PixelCNN
from exnihilo.nets.recurrent import PixelRNN
from exnihilo.probability.likelihoods import DiscretisedLogisticMixture
from exnihilo.probability.mixtures import coupled_size


@recipe("Pixel Recurrent Neural Networks", "van den Oord et al., 2016", arxiv="1601.06759", kinds=("image",))
def pixelcnn(
    data: DataSpec,
    *,
    width: Annotated[int, 3, 1024] = 48,
    depth: Annotated[int, 0, 64] = 5,
    dropout: Annotated[float, 0.0, 0.9] = 0.1,
    conditional: bool = False,
) -> AutoregressiveLevels:
    """Masked convolutions predict every pixel's level from the pixels above and to the left.

    Up to 32 levels each have a probability; more are a mixture of discretised logistics (arXiv:1701.05517).
    conditional: the class is a bias in every block (arXiv:1606.05328), and `classify` follows by Bayes' rule.
    """
    likelihood = levels_head(data)
    vector = width if conditional else 0
    network = PixelCNN(data.shape, likelihood.per_entry, width=width, depth=depth, vector=vector, dropout=dropout)
    return AutoregressiveLevels(
        network,
        likelihood,
        condition=class_condition("pixelcnn", data, conditional, width),
        optimizer=adamw(2e-3, betas=(0.9, 0.99), decay=1e-2, clip=10.0, schedule=cosine(hold=0.5)),
        batch=32,
    )


@recipe("Pixel Recurrent Neural Networks", "van den Oord et al., 2016", arxiv="1601.06759", kinds=("image",))
def pixelrnn(
    data: DataSpec,
    *,
    layer: Literal["diagonal", "row"] = "diagonal",
    width: Annotated[int, 3, 1024] = 32,
    depth: Annotated[int, 1, 32] = 3,
    conditional: bool = False,
) -> AutoregressiveLevels:
    """Convolutional LSTMs run over a picture's diagonals, from both sides, or over its rows.

    diagonal: every pixel knows all that came before it; row: a triangle above it, in fewer steps. Unlike the paper's:
    Adam for RMSProp, fewer layers, and beyond 32 levels a mixture of discretised logistics for 256 free probabilities.
    Caution: a step of training goes through the diagonals one after the other; pixelcnn is many times faster.
    """
    likelihood = levels_head(data)
    vector = width if conditional else 0
    network = PixelRNN(data.shape, likelihood.per_entry, layer=layer, width=width, depth=depth, vector=vector)
    return AutoregressiveLevels(
        network,
        likelihood,
        condition=class_condition("pixelrnn", data, conditional, width),
        optimizer=adamw(3e-3, betas=(0.9, 0.99), decay=1e-2, clip=10.0, schedule=cosine(hold=0.5)),
        batch=32,
    )


@recipe(
    "Conditional Image Generation with PixelCNN Decoders",
    "van den Oord et al., 2016",
    arxiv="1606.05328",
    kinds=("image",),
)
def gated_pixelcnn(
    data: DataSpec,
    *,
    width: Annotated[int, 3, 1024] = 48,
    depth: Annotated[int, 0, 64] = 5,
    dropout: Annotated[float, 0.0, 0.9] = 0.3,
    conditional: bool = False,
) -> AutoregressiveLevels:
    """Two stacks of gated convolutions, one looking up and one left, so that no earlier pixel is out of sight.

    y = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h), with h the vector of the class where `conditional`, and
    `classify` by Bayes' rule. Beyond 32 levels a mixture of discretised logistics (arXiv:1701.05517) stands for the
    paper's 256 free probabilities.
    """
    likelihood = levels_head(data)
    vector = width if conditional else 0
    network = GatedPixelCNN(data.shape, likelihood.per_entry, width=width, depth=depth, vector=vector, dropout=dropout)
    return AutoregressiveLevels(
        network,
        likelihood,
        condition=class_condition("gated_pixelcnn", data, conditional, width),
        optimizer=adamw(2e-3, betas=(0.9, 0.99), decay=1e-2, clip=10.0, schedule=cosine(hold=0.5)),
        batch=32,
    )


@recipe(
    "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications",
    "Salimans et al., 2017",
    arxiv="1701.05517",
    kinds=("image",),
)
def pixelcnn_pp(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 1024] = 32,
    blocks: Annotated[int, 1, 16] = 1,
    levels: Annotated[int, 1, 5] = 3,
    components: Annotated[int, 1, 100] = 10,
    dropout: Annotated[float, 0.0, 0.9] = 0.3,
    conditional: bool = False,
) -> AutoregressiveLevels:
    """Shifted convolutions that shrink and grow again, with skips; a pixel is one mixture of discretised logistics.

    P(x) = sum_m pi_m prod_c [sigmoid((x_c + 1/2 - mu_mc) / s_mc) - sigmoid((x_c - 1/2 - mu_mc) / s_mc)], the mean of a
    colour moving linearly with the colours before it. `blocks` gated residual blocks at each of `levels` resolutions,
    per direction. Unlike the authors' code: no weight normalisation, and biases of their own for every place. Caution:
    of few, unlike levels (binary pictures) a mixture of logistics has no advantage; take gated_pixelcnn.
    """
    if data.levels < 2:
        raise ModelError("pixelcnn_pp gives probabilities to levels, and these pictures have none.")
    head = DiscretisedLogisticMixture(data.levels, data.low, components)
    pixels = PixelStreams(
        data.shape,
        coupled_size(data.shape[0], components),
        width=width,
        blocks=blocks,
        levels=levels,
        vector=width if conditional else 0,
        dropout=dropout,
    )
    return AutoregressiveLevels(
        CoupledColours(pixels, head),
        head,
        condition=class_condition("pixelcnn_pp", data, conditional, width),
        optimizer=adamw(2e-3, betas=(0.9, 0.99), decay=1e-2, clip=10.0, schedule=cosine(hold=0.5)),
        batch=32,
    )
