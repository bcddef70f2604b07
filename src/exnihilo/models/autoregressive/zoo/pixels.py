"""Pixel by pixel: masked convolutions over pictures."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec, OptionError, adamw, cosine, recipe
from exnihilo.models.autoregressive.family import AutoregressiveLevels
from exnihilo.nets.layers import Condition
from exnihilo.nets.masked import PixelCNN
from exnihilo.probability.likelihoods import Categorical, DiscretisedLogisticMixture, Levels

FEW = 32  # levels up to which each has a probability of its own; beyond, neighbours are known to be alike


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
    if conditional and not data.classes:
        raise OptionError("pixelcnn: conditional=true needs labels, and these data have none. Leave it out.")
    likelihood: Levels
    if data.levels <= FEW:
        likelihood = Categorical(data.levels, data.low)
    else:
        likelihood = DiscretisedLogisticMixture(data.levels, data.low)
    network = PixelCNN(
        data.shape,
        likelihood.per_entry,
        width=width,
        depth=depth,
        vector=width if conditional else 0,
        dropout=dropout,
    )
    return AutoregressiveLevels(
        network,
        likelihood,
        condition=Condition(data.classes, 0, width) if conditional else None,
        optimizer=adamw(2e-3, betas=(0.9, 0.99), decay=1e-2, clip=10.0, schedule=cosine(hold=0.5)),
        batch=32,
    )
