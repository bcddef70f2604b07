"""Entry by entry, without a sense of place: logistic regressions, NADE and MADE."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.nn.functional import relu

from exnihilo.core import DataSpec, ModelError, OptionError, adamw, cosine, recipe
from exnihilo.models.autoregressive.family import Autoregressive, AutoregressiveLevels
from exnihilo.models.autoregressive.heads import class_condition, entry_head, levels_head
from exnihilo.models.autoregressive.orders import AutoregressiveOrders, OrderAgnostic, orders, random_degrees
from exnihilo.models.autoregressive.tables import AutoregressiveTable, ColumnHeads, ColumnNetwork
from exnihilo.nets.masked import MADE
from exnihilo.nets.nade import NADE, NADECell
from exnihilo.probability.likelihoods import Bernoulli

CLASS = 16  # length of the vector that stands for a class
SUMS = 3_250_000  # hidden numbers of a batch of NADE: 16 pictures of 28 x 28 with 256 units
UNFIT = {"table": "its entries are of one kind and drawn one by one, and those of a category belong together"}


@recipe(
    "Does the Wake-Sleep Algorithm Produce Good Density Estimators?",
    "Frey et al., 1996",
    kinds=("image", "vector"),
    unfit=UNFIT,
)
def fvsbn(data: DataSpec, *, conditional: bool = False) -> AutoregressiveLevels:
    """A fully visible sigmoid belief network: every entry is a logistic regression on those before it.

    p(x_i = 1 | x_1 ... x_{i-1}) = sigmoid(b_i + sum_{j < i} W_ij x_j): convex, so nothing but the data decides the
    optimum. Pictures of more levels: softmax regressions, beyond 32 levels mixtures of discretised logistics whose
    parameters are linear in what came before. conditional: the class shifts every b_i.
    """
    if not data.levels:
        raise ModelError("fvsbn gives probabilities to levels, and these data are continuous. Use made or nade.")
    likelihood = Bernoulli(data.low) if data.levels == 2 else levels_head(data)
    condition = class_condition("fvsbn", data, conditional, CLASS)
    network = MADE(data.shape, likelihood.per_entry, width=1, depth=0, vector=CLASS if condition else 0)
    return AutoregressiveLevels(
        network, likelihood, condition=condition, optimizer=adamw(1e-2, decay=1e-2, schedule=cosine()), batch=100
    )


@recipe(
    "The Neural Autoregressive Distribution Estimator",
    "Larochelle & Murray, 2011",
    kinds=("image", "vector"),
    unfit=UNFIT,
)
def nade(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 8192] = 256,
    depth: Annotated[int, 1, 8] = 1,
    orderings: Annotated[int, 1, 128] = 1,
    components: Annotated[int, 1, 100] = 10,
    conditional: bool = False,
) -> Autoregressive:
    """Hidden units that share their weights between entries: h_i = g(c + sum_{j < i} W_j x_j), one more term an entry.

    Continuous data have a mixture of `components` Gaussians an entry (RNADE, arXiv:1306.0186). orderings > 1: trained
    for all orders at once, by predicting entries from random others, and read in so many (EoNADE, depth > 1: DeepNADE;
    arXiv:1310.1757); gaps of any shape are then drawn given all that is known. Sigmoid units for one layer over
    levels, rectified ones else. Memory: batch times entries times width.
    """
    likelihood = entry_head(data, components)
    condition = class_condition("nade", data, conditional, CLASS)
    sigmoid = data.levels > 0 and depth == 1
    cell = NADECell(
        data.size,
        likelihood.per_entry,
        width=width,
        depth=depth,
        activation=torch.sigmoid if sigmoid else relu,
        rescaled=not data.levels,
        agnostic=orderings > 1,
        vector=CLASS if condition else 0,
    )
    networks = [NADE(cell, data.shape, order) for order in orders(data.size, orderings)]
    rate, decay = (1e-2, 1e-1) if sigmoid else (2e-3, 0.0)  # without, sigmoids know a few thousand pictures by heart
    optimizer = adamw(rate, decay=decay, clip=50.0, schedule=cosine())
    batch = max(8, min(64, SUMS // (data.size * width)))
    if orderings > 1:
        return OrderAgnostic(networks, likelihood, condition=condition, optimizer=optimizer, batch=batch)
    return Autoregressive(networks[0], likelihood, condition=condition, optimizer=optimizer, batch=batch)


@recipe("MADE: Masked Autoencoder for Distribution Estimation", "Germain et al., 2015", arxiv="1502.03509")
def made(
    data: DataSpec,
    *,
    width: Annotated[int, 1, 16384] = 512,
    depth: Annotated[int, 1, 16] = 1,
    masks: Annotated[int, 1, 128] = 1,
    components: Annotated[int, 1, 100] = 10,
    conditional: bool = False,
) -> Autoregressive:
    """A fully connected network whose masks let every entry see the entries before it alone, all in one pass.

    An entry is told those before it by hidden units and, linearly, by connections past them, as in the paper.
    masks > 1: every batch trains under one of so many masks, each with its own order and hidden degrees, and p(x) is
    their average (order- and connectivity-agnostic). Continuous data: a mixture of `components` Gaussians an entry;
    one component is a Gaussian. Tables go column by column: a mixture for a number, the chance that it is missing, a
    probability for every category.
    """
    condition = class_condition("made", data, conditional, CLASS)
    vector, optimizer = CLASS if condition else 0, adamw(2e-3, decay=1e-2, clip=50.0, schedule=cosine())
    if data.kind == "table":
        if masks > 1:
            raise OptionError(f"made: masks={masks} is not for tables, whose columns keep their order. Leave it out.")
        heads = ColumnHeads(data.columns, components)
        rows = ColumnNetwork(heads, width=width, depth=depth, vector=vector)
        return AutoregressiveTable(rows, heads, condition=condition, optimizer=optimizer)
    likelihood = entry_head(data, components)
    network = MADE(data.shape, likelihood.per_entry, width=width, depth=depth, vector=vector, direct=True)
    if masks == 1:
        return Autoregressive(network, likelihood, condition=condition, optimizer=optimizer)
    lowest = 0 if vector else 1
    others = [
        network.masked_anew(order, random_degrees(width, depth, data.size, number, lowest=lowest))
        for number, order in enumerate(orders(data.size, masks))
        if number > 0
    ]
    return AutoregressiveOrders([network, *others], likelihood, condition=condition, optimizer=optimizer)
