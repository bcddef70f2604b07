"""The negative phase: where the chains start whose ends stand for the model's own samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Negative(nn.Module):
    """Starts of the chains of a step, and what becomes of their ends."""

    def fill(self, examples: Tensor) -> None:
        """Before training: data from which chains may start, [N, D]."""

    def start(self, positive: Tensor) -> Tensor:
        """[M, D] where the chains of this step begin."""
        raise NotImplementedError

    def keep(self, negative: Tensor) -> None:
        """Remember where they ended."""


class Contrastive(Negative):
    """Contrastive divergence: chains start at the data of the step (Hinton, 2002, Neural Computation 14).

    Fast and stable, but what the model believes far from the data is never seen, so its samples are worse.
    """

    def start(self, positive: Tensor) -> Tensor:
        return positive


class Persistent(Negative):
    """Persistent chains: they go on where the last step left them (Tieleman, 2008, ICML).

    The chains are a buffer that only a resume needs, so it is not among the shared weights.
    """

    chains: Tensor

    def __init__(self, chains: int, size: int):
        super().__init__()
        self.register_buffer("chains", torch.zeros(chains, size), persistent=False)

    def fill(self, examples: Tensor) -> None:
        """Chains begin at examples [N, D]; what else they move, [chains, S - D], at 0."""
        chosen = torch.randint(len(examples), (len(self.chains),), device=examples.device)
        self.chains.zero_()
        self.chains[:, : examples.shape[1]] = examples[chosen]

    def start(self, positive: Tensor) -> Tensor:
        return self.chains

    def keep(self, negative: Tensor) -> None:
        self.chains.copy_(negative)
