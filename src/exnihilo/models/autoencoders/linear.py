"""One linear layer there and one back: principal components, learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, Stage, Terms
from exnihilo.models.autoencoders.plain import Autoencoder
from exnihilo.models.classical.family import training_examples
from exnihilo.nets.layers import Reshape


class Centred(nn.Module):
    """z = W (x - m): (B, *shape) -> (B, latent), m a buffer, W with orthonormal rows at first."""

    location: Tensor

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.register_buffer("location", torch.zeros(size))
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(latent, size)))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.location) @ self.weight.T


class Uncentred(nn.Module):
    """x = V^T z + m: (B, latent) -> (B, *shape), with the encoder's m; V its W where `tied`, else a copy to learn."""

    def __init__(self, encoder: Centred, shape: Sequence[int], tied: bool):
        super().__init__()
        self.encoder, self.shape = encoder, Reshape(*shape)
        self.weight = encoder.weight if tied else nn.Parameter(encoder.weight.detach().clone())

    def forward(self, z: Tensor) -> Tensor:
        return self.shape(z @ self.weight + self.encoder.location)


class Transposed(nn.Module):
    """x = W^T z + b: (B, latent) -> (B, *shape), with the weight W of the encoder's layer."""

    def __init__(self, layer: nn.Linear, shape: Sequence[int]):
        super().__init__()
        self.layer, self.shape = layer, Reshape(*shape)
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, z: Tensor) -> Tensor:
        return self.shape(z @ self.layer.weight + self.bias)


class LinearAutoencoder(Autoencoder):
    """min E |x - m - V^T W (x - m)|^2: V spans the leading principal subspace, every other critical point is a saddle.

    Bourlard & Kamp, 1988; Baldi & Hornik, 1989. The rows of V are not the principal axes, but any basis of their
    subspace; orthonormal ones where V = W. Where x never varies W keeps its start, which its code does not show.
    """

    average = False  # the last weights are at the optimum, their average is on the way

    def stages(self) -> Iterable[Stage]:
        """Learn, from data that are centred first."""
        return [Stage("train", self.players, enter=self._centre)]

    @torch.no_grad()
    def _centre(self, data: Data) -> None:
        assert isinstance(self.encoder, Centred)
        mean = training_examples(data, limit=100_000).flatten(1).double().mean(dim=0)
        self.encoder.location.copy_(mean)

    def validate(self, batch: Batch) -> Terms:
        """Nothing: the optimum of the training data is what is wanted, not the best on the way to it."""
        return {}
