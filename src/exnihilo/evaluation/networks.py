"""Small networks whose hidden layer serves as features: a classifier where there are labels, else an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import Batch, Data, DataSpec, Stage, Terms, Trainable, adamw, cosine
from exnihilo.nets.conv import ConvDecoder
from exnihilo.nets.mlp import MLP

DIM = 64  # features of every small network
EXAMPLES = 10_000  # training examples that are measured
LARGEST = 32  # pictures with longer sides are reduced to this before the first layer


class ImageFeatures(nn.Module):
    """(B, C, H, W) in [-1, 1] -> (B, 64): 3 x 3 convolutions with ReLU, of stride 2 until the side is at most 4, then
    one linear layer with ReLU. Sides above 32 are first reduced to 32 by averaging, so finer detail is not seen."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        channels, height, breadth = shape
        scale = min(1.0, LARGEST / max(height, breadth))
        self.side = (max(1, round(height * scale)), max(1, round(breadth * scale)))
        small = max(self.side) <= 12
        layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU()] if small else []
        channels = 32 if small else channels
        height, breadth = self.side
        for width in [48] if small else [16, 32, 48]:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels, height, breadth = width, math.ceil(height / 2), math.ceil(breadth / 2)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * breadth, DIM), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != self.side:
            x = F.adaptive_avg_pool2d(x, self.side)
        return self.layers(x)


class VectorFeatures(nn.Module):
    """(B, ...) -> (B, 64): two hidden layers with ReLU."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        size = math.prod(shape)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, DIM), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def feature_layers(spec: DataSpec) -> nn.Module:
    """The part of a network that makes features of such data."""
    return ImageFeatures(spec.shape) if spec.kind == "image" else VectorFeatures(spec.shape)


class Classifier(Trainable):
    """Minimise -log p(class | x), p = softmax(W f(x) + b); f(x) are the features."""

    optimizer = adamw(2e-3, schedule=cosine(hold=0.1))

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.features = feature_layers(spec)
        self.head = nn.Linear(DIM, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, classes] log-probabilities."""
        return self.head(self.features(x)).log_softmax(dim=1)

    def loss(self, batch: Batch) -> Terms:
        """Cross-entropy in nats; examples of unknown class (-1) do not count."""
        assert batch.label is not None
        known = (batch.label >= 0).sum().clamp_min(1)
        total = F.nll_loss(self(batch.x), batch.label, ignore_index=-1, reduction="sum")
        return {"cross_entropy": total / known}


class Autoencoder(Trainable):
    """Minimise |x - g(f(x))|^2 per entry; f(x), 64 non-negative numbers, are the features."""

    optimizer = adamw(2e-3, schedule=cosine(hold=0.1))

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.features = feature_layers(spec)
        self.side: tuple[int, int] | None = None
        self.decoder: nn.Module = MLP((DIM,), spec.shape, 128)
        if isinstance(self.features, ImageFeatures):
            self.side = self.features.side
            self.decoder = ConvDecoder((DIM,), (spec.shape[0], *self.side), 16)

    def loss(self, batch: Batch) -> Terms:
        """The mean squared error of reconstruction."""
        seen = batch.x if self.side is None else F.adaptive_avg_pool2d(batch.x, self.side)
        return {"squared_error": (self.decoder(self.features(batch.x)) - seen).square().mean()}


class Contrast(Trainable):
    """Minimise -log p(real | x) - log p(made up | x'), where x' is, a third each, real rows whose columns were
    shuffled independently, draws of the Gaussian of the data, and real rows plus noise.

    What tells rows from such near misses is the data's shape and the dependence of its columns - which mean and
    covariance of the coordinates alone, all that a Frechet distance sees, would miss: one Gaussian would be perfect.
    The features are 64 hidden numbers, scaled to the total variance of the coordinates, and the coordinates
    themselves, so that nothing is lost. After noise-contrastive estimation (Gutmann & Hyvarinen, 2010).
    """

    optimizer = adamw(2e-3, schedule=cosine(hold=0.1))
    mean: Tensor
    root: Tensor
    scale: Tensor

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.spec = spec
        self.groups = [column.slice for column in spec.columns] if spec.kind == "table" else None
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(spec.size, 128), nn.SiLU(), nn.Linear(128, DIM), nn.SiLU())
        self.head = nn.Linear(DIM, 1)
        self.register_buffer("mean", torch.zeros(spec.size))
        self.register_buffer("root", torch.eye(spec.size))  # a square root of the covariance
        self.register_buffer("scale", torch.ones(()))

    def stages(self) -> list[Stage]:
        """Measure the data, learn, and set the scale of what was learned."""
        return [Stage("train", self.players, enter=self.measure), Stage("scale", lambda: [], enter=self.balance)]

    def measure(self, data: Data) -> None:
        """Mean and covariance of the training examples."""
        rows = data.first(EXAMPLES).x.flatten(1).double()
        values, vectors = torch.linalg.eigh(torch.cov(rows.T).reshape(self.spec.size, self.spec.size))
        self.mean.copy_(rows.mean(dim=0))
        self.root.copy_(vectors * values.clamp_min(0).sqrt())

    @torch.no_grad()
    def balance(self, data: Data) -> None:
        """As much variance in the hidden numbers as in the coordinates."""
        rows = data.first(EXAMPLES).x
        variance = self.hidden(rows).var(dim=0).sum().clamp_min(1e-12)
        self.scale.copy_((rows.flatten(1).var(dim=0).sum() / variance).sqrt())

    def features(self, x: Tensor) -> Tensor:
        """[B, 64 + D]."""
        return torch.cat([self.scale * self.hidden(x), x.flatten(1)], dim=1)

    def loss(self, batch: Batch) -> Terms:
        """Both halves of the contrast, in nats; what is made up is rounded as the data are."""
        x = batch.x.flatten(1)
        gaussian = self.mean + torch.randn_like(x) @ self.root.T
        noisy = x + torch.randn_like(x) * torch.rand(len(x), 1, device=x.device)
        made_up = torch.cat([self._shuffled(x), gaussian, noisy]).view(-1, *batch.x.shape[1:])
        unreal = F.softplus(self.head(self.hidden(self.spec.quantise(made_up)))).mean()
        return {"contrast": F.softplus(-self.head(self.hidden(batch.x))).mean() + unreal}

    def _shuffled(self, x: Tensor) -> Tensor:
        """Every column (with all its entries) from another row."""
        shuffled = x.clone()
        for part in self.groups or [slice(place, place + 1) for place in range(x.shape[1])]:
            shuffled[:, part] = x[torch.randperm(len(x), device=x.device)][:, part]
        return shuffled


Network = Classifier | Autoencoder | Contrast

#: By the name under which a network is stored.
KINDS: dict[str, type[Network]] = {"classifier": Classifier, "autoencoder": Autoencoder, "contrast": Contrast}


@torch.no_grad()
def accuracy(classifier: Classifier, batch: Batch) -> float:
    """The share of examples of known class that are named rightly."""
    assert batch.label is not None
    named = torch.cat([classifier(part).argmax(dim=1) for part in batch.x.split(256)])
    known = batch.label >= 0
    return float((named == batch.label)[known].double().mean())
