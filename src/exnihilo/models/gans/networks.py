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
    data: DataSpec, width: int, *, outputs: int = 1, normalisation: Norm | Literal["spectral"] = "none"
) -> StridedCritic | MLP:
    """[B, *data.shape] -> [B, outputs]; `features(x)` is its last hidden layer, [B, feature_size].

    normalisation="spectral" keeps it about 1-Lipschitz. Caution: "batch" makes a score depend on the whole batch, so
    it does not go with a penalty on the gradient of an example; "layer" does.
    """
    if data.kind == "image":
        return StridedCritic(data.shape, channels(width), outputs=outputs, normalisation=normalisation)
    plain: Norm = "none" if normalisation == "spectral" else normalisation
    critic = connected(data, data.shape, (outputs,), width, normalisation=plain)
    if normalisation == "spectral":
        spectral(critic)
    return critic


def calm_critic_for(data: DataSpec, width: int, *, outputs: int = 1) -> StridedCritic | MLP:
    """`critic_for`, spectrally normalised where it is of convolutions, whose first weights are small otherwise."""
    return critic_for(data, width, outputs=outputs, normalisation="spectral" if data.kind == "image" else "none")


def plain_generator_for(data: DataSpec, latent: int, width: int) -> nn.Module:
    """`generator_for` without statistics of batches, fully connected up to as many numbers as encoders are."""
    if convolutional(data):
        return generator_for(data, latent, width, normalisation="layer")
    return nn.Sequential(connected(data, (latent,), data.shape, width), output(data))


def plain_critic_for(data: DataSpec, width: int, *, outputs: int = 1) -> StridedCritic | MLP:
    """`critic_for`, of the same kind as `plain_generator_for`."""
    if convolutional(data):
        return critic_for(data, width, outputs=outputs)
    return connected(data, data.shape, (outputs,), width)


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
