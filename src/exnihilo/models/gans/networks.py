"""The generator and the critic that suit the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from exnihilo.core import DataSpec
from exnihilo.models.autoencoders.choose import convolutional
from exnihilo.models.gans.outputs import output
from exnihilo.nets.dcgan import StridedCritic, StridedGenerator
from exnihilo.nets.layers import Norm
from exnihilo.nets.mlp import MLP

leaky = partial(nn.LeakyReLU, 0.2)
DEPTH = 3  # hidden layers of fully connected networks
FEW = 8  # numbers


def few(data: DataSpec) -> bool:
    """Whether the data are vectors of a few numbers, each of which is likely to tell modes apart."""
    return data.kind == "vector" and data.size <= FEW


def connected(
    data: DataSpec, shape_in: Sequence[int], shape_out: Sequence[int], width: int, *, normalisation: Norm = "none"
) -> MLP:
    """Fully connected layers as they suit the data: leaky rectifiers, or plain ones, which bend more sharply, for a few
    numbers (grid25, 6000 rounds: 25 modes of 25, with leaky ones 19)."""
    return MLP(
        shape_in, shape_out, width, DEPTH, activation=nn.ReLU if few(data) else leaky, normalisation=normalisation
    )


def channels(width: int) -> int:
    """Channels of the largest feature map of a convolutional network that goes with layers of this width."""
    return max(4, width // 8)


def generator_for(data: DataSpec, latent: int, width: int, *, normalisation: Norm = "batch") -> nn.Module:
    """[B, latent] -> [B, *data.shape] in model space: convolutions for images, else fully connected layers.

    Fully connected layers are never normalised: on small data batch statistics only blur the modes.
    """
    if data.kind == "image":
        body: nn.Module = StridedGenerator(latent, data.shape, channels(width), normalisation=normalisation)
    else:
        body = connected(data, (latent,), data.shape, width)
    return nn.Sequential(body, output(data))


def critic_for(
    data: DataSpec, width: int, *, outputs: int = 1, normalisation: Norm | Literal["spectral"] | None = None
) -> StridedCritic | MLP:
    """[B, *data.shape] -> [B, outputs]; `features(x)` is its last hidden layer, [B, feature_size].

    Convolutions for pictures of more numbers than a fully connected layer reads with ease. normalisation="spectral"
    keeps it about 1-Lipschitz; none named: so are convolutions, which drawn from N(0, 0.02^2) say next to nothing at
    first, and are slow to learn to. Fully connected layers are free, and several times as fast: digits in 12 to 15
    seconds, by ragan's Frechet ratio 3.7, with spectral convolutions 5.4, with free ones 55. Caution: "batch" makes a
    score depend on the whole batch, so it does not go with a penalty on the gradient of an example; "layer" does.
    """
    if convolutional(data):
        return StridedCritic(data.shape, channels(width), outputs=outputs, normalisation=normalisation or "spectral")
    plain: Norm = "none" if normalisation in (None, "spectral") else normalisation  # type: ignore[assignment]
    critic = connected(data, data.shape, (outputs,), width, normalisation=plain)
    if normalisation == "spectral":
        spectral(critic)
    return critic


def pair_for(data: DataSpec, latent: int, width: int) -> tuple[nn.Module, StridedCritic | MLP]:
    """The generator and the critic of a game without further wishes."""
    return generator_for(data, latent, width), critic_for(data, width)


class Scaled(nn.Module):
    """factor h: after a critic that is 1-Lipschitz, one that may be `factor` times as steep."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, h: Tensor) -> Tensor:
        return self.factor * h


def spectral(network: nn.Module) -> nn.Module:
    """The network with every linear and convolutional weight divided by its largest singular value, W / sigma(W).

    Miyato et al., 2018, arXiv:1802.05957, Eq. 8: one power iteration per call in training. Caution: of a convolution
    it bounds the reshaped weight matrix, not the operator.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            spectral_norm(layer)
    return network
