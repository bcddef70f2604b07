"""Associative memories: patterns stored at once, brought back from a part of them."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, recipe
from exnihilo.models.energy.hopfield import CAPACITY, Hopfield, ModernHopfield, Storage, hebbian, pseudo_inverse
from exnihilo.models.energy.zoo.boltzmann import BITS, grey_levels


@recipe(
    "Neural networks and physical systems with emergent collective computational abilities",
    "Hopfield, 1982",
    kinds=BITS,
)
def hopfield(
    data: DataSpec,
    *,
    patterns: Annotated[int, 0, 65536] = 0,
    storage: Literal["pseudo_inverse", "hebbian"] = "pseudo_inverse",
) -> Hopfield:
    """Spins that fall to the nearest of the stored examples: a memory that completes and cleans what it is shown.

    patterns: how many training examples are stored; 0: 0.138 for each unit, what Hebb's rule can hold of unrelated
    ones. storage: `hebbian` is the paper's rule, which fails for patterns that resemble each other, as pictures do;
    `pseudo_inverse` (Personnaz et al., 1986) holds those as well. Pictures are made black and white. Caution: it
    samples memories, spurious ones among them, and is no model of the data.
    """
    grey_levels("hopfield", data)
    rules: dict[str, Storage] = {"hebbian": hebbian, "pseudo_inverse": pseudo_inverse}
    return Hopfield(data.shape, rules[storage], patterns or max(1, int(CAPACITY * data.size)), low=data.low)


@recipe(
    "Hopfield Networks is All You Need",
    "Ramsauer et al., 2021",
    arxiv="2008.02217",
    kinds=("image", "vector", "table", "series"),
)
def modern_hopfield(
    data: DataSpec,
    *,
    patterns: Annotated[int, 1, 1_000_000] = 4096,
    beta: Annotated[float, 0.0, 1e6] = 0.0,
    similarity: Literal["euclidean", "dot"] = "euclidean",
) -> ModernHopfield:
    """A memory of real patterns whose retrieval is attention: one step x <- softmax(beta x S^T) S brings one back.

    patterns: training examples stored, at most. beta: the sharpness; 0 takes one over Scott's squared bandwidth, since
    exp(-beta E) is a mixture of Gaussians about the patterns with variance 1 / beta. similarity: `dot` is the paper's,
    for patterns of one length; `euclidean` equals it there and favours no long ones elsewhere. Caution: small beta
    retrieves means of many patterns, large beta the examples themselves; its samples are noisy examples.
    """
    return ModernHopfield(data.shape, patterns, beta, similarity=similarity)
