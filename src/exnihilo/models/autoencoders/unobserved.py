"""A variational autoencoder of incomplete data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import Estimator
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import Prior
from exnihilo.probability.likelihoods import Likelihood


class MIWAE(VAE):
    """Maximise  E log 1/k sum_i p(x_o | z_i) p(z_i) / q(z_i | x_o)  over the observed entries x_o alone.

    Mattei & Frellsen, 2019, arXiv:1812.02633, Eq. 4. The encoder reads zeros for what is not observed. Right where
    whether an entry is observed does not depend on its value. Of a table with gaps it models values, never that one is
    missing: its samples are complete rows, and its densities are of what a row holds.
    """

    sweeps = 0

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        prior: Prior,
        *,
        estimator: Estimator,
        drop: float = 0.0,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__(encoder, decoder, likelihood, prior, estimator=estimator, optimizer=optimizer)
        self.drop = drop

    def observed(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """What the mask holds and, of a table, is no gap.

        The number behind a flag is left in: its density is that of the filler which dequantisation put there.
        """
        for column in self.spec.columns if self.spec.kind == "table" else ():
            if column.kind == "category" and None in column.categories:
                entry = x[:, column.slice].argmax(dim=1) == column.categories.index(None)
                mask = _without(x, mask, column.slice, entry)
            elif column.missing:
                mask = _without(x, mask, slice(column.start + 1, column.start + 2), x[:, column.start + 1] >= 0.5)
        return mask

    def loss(self, batch: Batch) -> Terms:
        """The bound on what is observed, less the share that is left out anew in every step."""
        return super().loss(batch.replace(mask=self._hide(batch)) if self.drop else batch)

    def validate(self, batch: Batch) -> Terms:
        """The loss: what is left out is the same each time, as the scope of a validation is."""
        return {"bound": self.loss(batch)["bound"]}

    def _hide(self, batch: Batch) -> Tensor:
        x = batch.x
        mask = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask
        if self.spec.kind != "table":
            return mask & (torch.rand_like(x) >= self.drop)
        kept = torch.rand(len(x), len(self.spec.columns), device=x.device) >= self.drop
        widths = torch.tensor([column.width for column in self.spec.columns], device=x.device)
        return mask & kept.repeat_interleave(widths, dim=1)


def _without(x: Tensor, mask: Tensor | None, place: slice, gone: Tensor) -> Tensor:
    """The mask (None = everything) less a slice of the entries in the rows where `gone`."""
    mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.clone()
    mask[:, place] &= ~gone[:, None]
    return mask
