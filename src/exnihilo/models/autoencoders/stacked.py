"""Deep autoencoders learnt layer by layer, then together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, Player, Stage, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.corruptions import Corruption
from exnihilo.models.autoencoders.gaps import said
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.nets.layers import Reshape
from exnihilo.probability.chains import TorchChance
from exnihilo.probability.likelihoods import Likelihood, SquaredError


class StackedAutoencoder(Autoencoder):
    """Layer l minimises E |h - d_l(e_l(c(h)))|^2 of h = e_{l-1}(... e_1(x)), the layers below fixed; then all together.

    Bengio et al., 2007, NIPS 19, section 2; with a corruption c of what every layer reads Vincent et al., 2010, JMLR
    11, section 3.5. `encoder` holds the layers e_1 ... e_L, `decoder` d_L ... d_1. The last stage sees x uncorrupted.
    """

    level: Tensor
    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(
        self,
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        likelihood: Likelihood,
        *,
        layer_corruption: Corruption | None = None,
        optimizer: OptimizerFactory = adamw(1e-3),
    ):
        super().__init__(encoder, decoder, likelihood, optimizer=optimizer)
        self.layer_corruption = layer_corruption
        self.register_buffer("level", torch.tensor(len(encoder)))  # the layer that learns; as many as layers: all

    def stages(self) -> Iterable[Stage]:
        """A stage for each layer, and one as long as all of them for the whole."""
        layers = len(self.encoder)
        for level in range(layers):
            yield Stage(f"layer {level + 1}", partial(self._layer, level), enter=partial(self._reach, level))
        yield Stage("together", self.players, share=layers, enter=partial(self._reach, layers))

    def _reach(self, level: int, data: Data) -> None:
        self.level.fill_(level)

    def _layer(self, level: int) -> Iterable[Player]:
        parts = [self.encoder[level], self.decoder[-1 - level], self.likelihood]
        return [Player(f"layer {level + 1}", nn.ModuleList(parts), partial(self.layer_loss, level))]

    def layer_loss(self, level: int, batch: Batch) -> Terms:
        """The error of restoring what layer `level` (from 0) reads; of the first that is x, with its likelihood."""
        with torch.no_grad():
            h = self.encoder[:level](batch.x)
        read = h if self.layer_corruption is None else self.layer_corruption(h, TorchChance())
        restored = self.decoder[-1 - level](self.encoder[level](read)).to(h)
        if level:
            return {"reconstruction": -SquaredError().log_prob(restored, h).mean()}
        mask = said(self.spec, batch.x, batch.mask)
        return {"reconstruction": -self.likelihood.log_prob(restored, batch.x, mask).mean()}

    def validate(self, batch: Batch) -> Terms:
        """The loss of the stage."""
        level = int(self.level)
        return super().validate(batch) if level == len(self.encoder) else self.layer_loss(level, batch)


def layers(
    shape: Sequence[int], shape_out: Sequence[int], latent: int, width: int, depth: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder of depth + 1 fully connected layers: width, half of it, a quarter ..., a linear code."""
    end = Reshape(*shape_out)
    size_in, size_out = torch.Size(shape).numel(), torch.Size(shape_out).numel()
    hidden = [max(width >> level, latent, 2) for level in range(depth)]
    there: list[nn.Module] = []
    back: list[nn.Module] = [nn.Sequential(nn.Linear(hidden[0], size_out), end)]
    for before, after in zip([size_in, *hidden[:-1]], hidden, strict=True):
        first = [nn.Flatten()] if not there else []
        there.append(nn.Sequential(*first, nn.Linear(before, after), nn.SiLU()))
    there.append(nn.Linear(hidden[-1], latent))
    for before, after in zip([*hidden[1:], latent], hidden, strict=True):
        back.append(nn.Sequential(nn.Linear(before, after), nn.SiLU()))
    return nn.Sequential(*there), nn.Sequential(*reversed(back))
