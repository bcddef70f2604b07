"""Networks that are told something: the class, attributes, and any vector or picture that is given."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, DataError, DataSpec, ModelError, Terms
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.networks import channels, critic_for, generator_for, leaky
from exnihilo.nets.conv import ConvEncoder
from exnihilo.nets.joined import Joined
from exnihilo.nets.layers import Condition
from exnihilo.nets.mlp import MLP

TOLD = 16  # numbers in which a network is told of everything
TAKEN = frozenset({"attributes", "given"})  # by who is `Told`, beside the class
UNKNOWN = 0.1  # share of the training in which a thing is left unsaid: the networks learn to do without

Telling = Literal["concatenation", "projection"]


class Told(nn.Module):
    """What is asked of each example as one vector, e(class) + f(attributes) + g(given): [B, TOLD].

    What is unknown - class -1, an attribute or a row of `given` that is NaN, or the whole of one None - has numbers of
    its own, so a network can be asked for any part, or for nothing.
    """

    def __init__(self, data: DataSpec, width: int):
        super().__init__()
        self.facts = Condition(data.classes, len(data.attributes), TOLD)
        self.given: nn.Module | None = None
        if data.given is not None:
            self.given = encoder_of(data.given, width)
            self.nothing = nn.Parameter(torch.zeros(TOLD))  # in place of what is not given

    def forward(self, n: int, asked: Batch | Conditions) -> Tensor:
        vector: Tensor = self.facts(n, asked.label, asked.attributes)
        if self.given is None:
            if asked.given is not None:
                raise DataError("These data had nothing given beside them, so samples take nothing. Leave given out.")
            return vector
        if asked.given is None:
            return vector + self.nothing
        values, known = without_gaps(asked.given)
        return vector + torch.where(known[:, None], self.given(values), self.nothing)


def encoder_of(given: DataSpec, width: int) -> nn.Module:
    """[B, *given.shape] -> [B, TOLD]."""
    if given.kind == "image":
        return ConvEncoder(given.shape, (TOLD,), max(4, channels(width) // 2), activation=nn.LeakyReLU)
    return MLP(given.shape, (TOLD,), width, 1, activation=leaky)


def without_gaps(given: Tensor | dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What is given with 0 in place of NaN, and whether each row is known [B]."""
    assert isinstance(given, Tensor)  # several things given are for models that know each by name
    return given.nan_to_num(0.0), ~given.flatten(1).isnan().any(dim=1)


class ConditionalGenerator(nn.Module):
    """G(z | asked) = network([z, told]), the network of TOLD more latents (Mirza & Osindero, 2014, Section 3.2)."""

    def __init__(self, network: nn.Module, told: Told):
        super().__init__()
        self.network, self.told = network, told

    def forward(self, z: Tensor, asked: Batch | Conditions) -> Tensor:
        return self.network(torch.cat([z, self.told(len(z), asked)], dim=1))


def maps_over(data: DataSpec) -> int:
    """Maps that `laid_over` adds: of a picture given of the sides of the pictures to be made; else 0."""
    alike = data.kind == "image" and data.given is not None and data.given.shape[1:] == data.shape[1:]
    return data.given.shape[0] + 1 if alike and data.given is not None else 0


def laid_over(x: Tensor, given: Tensor | dict[str, Tensor] | None, maps: int) -> Tensor:
    """[B, C + maps, H, W]: what is given laid over x, pixel on pixel, and a map that says whether it is known."""
    if not maps:
        return x
    if given is None:
        return torch.cat([x, x.new_zeros(len(x), maps, *x.shape[2:])], dim=1)
    values, known = without_gaps(given)
    return torch.cat([x, values, known.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x)], dim=1)


class ConditionalCritic(nn.Module):
    """s(x | asked) = network([x, told]), told as further entries of a vector or as further maps of a picture.

    Mirza & Osindero, 2014, arXiv:1411.1784, Section 3.2. Caution: where convolutions are spectrally normalised, what is
    told and the picture share one bound on their weights.
    """

    def __init__(self, data: DataSpec, width: int):
        super().__init__()
        self.over, maps = maps_over(data), data.kind == "image"
        shape = (data.shape[0] + self.over + TOLD, *data.shape[1:]) if maps else (data.size + TOLD,)
        network = critic_for(DataSpec("image" if maps else "vector", shape), width)
        self.network, self.told = Joined(network, flat=not maps), Told(data, width)

    def forward(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        return self.network(laid_over(x, asked.given, self.over), self.told(len(x), asked))


class ProjectionCritic(nn.Module):
    """s(x | asked) = psi(f) + told . f with features f = network(x): [B, *shape] -> [B, 1].

    Miyato & Koyama, 2018, arXiv:1802.05637, Eq. 3: of classes with Gaussian features, log p(x, y) / q(x, y) has this
    form. f is the network's last, linear layer, so told . f is a bilinear form of rank TOLD in the layer before.
    """

    def __init__(self, data: DataSpec, width: int):
        super().__init__()
        self.over = maps_over(data)
        shape = (data.shape[0] + self.over, *data.shape[1:])
        self.network = critic_for(DataSpec(data.kind, shape), width, outputs=TOLD)
        self.told, self.psi = Told(data, width), nn.Linear(TOLD, 1)

    def forward(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        f = self.network(laid_over(x, asked.given, self.over))  # [B, TOLD]
        return self.psi(f) + (self.told(len(x), asked) * f).sum(dim=1, keepdim=True)


def conditional_generator_for(data: DataSpec, latent: int, width: int) -> ConditionalGenerator:
    """(z [B, latent], what is asked) -> [B, *data.shape] in model space."""
    return ConditionalGenerator(generator_for(data, latent + TOLD, width), Told(data, width))


def conditional_critic_for(data: DataSpec, width: int, telling: Telling = "projection") -> nn.Module:
    """([B, *data.shape], what is asked) -> [B, 1]."""
    return ProjectionCritic(data, width) if telling == "projection" else ConditionalCritic(data, width)


def partly_hidden(batch: Batch, share: float = UNKNOWN) -> Batch:
    """The batch with this share of its classes, of its attributes and of what is given made unknown, each by chance."""

    def chosen(like: Tensor, *shape: int) -> Tensor:
        return torch.rand(shape, device=like.device) < share

    label, attributes, given = batch.label, batch.attributes, batch.given
    if label is not None:
        label = label.masked_fill(chosen(label, len(label)), -1)
    if attributes is not None:
        attributes = attributes.masked_fill(chosen(attributes, *attributes.shape), torch.nan)
    if isinstance(given, Tensor):
        given = given.masked_fill(chosen(given, len(given), *[1] * (given.ndim - 1)), torch.nan)
    return batch.replace(label=label, attributes=attributes, given=given)


class ConditionalGAN(GAN):
    """min_G max_D  E log D(x | y) + E log(1 - D(G(z | y) | y)),  y the class, attributes and what is given.

    Mirza & Osindero, 2014, arXiv:1411.1784, Eq. 2. Reals and fakes share the batch's y, or the critic could tell them
    by it. Now and then a part of y is hidden from both players, so the generator also answers when it is not asked.
    """

    takes = TAKEN

    def critic_loss(self, batch: Batch) -> Terms:
        return super().critic_loss(partly_hidden(batch))

    def generator_loss(self, batch: Batch) -> Terms:
        return super().generator_loss(partly_hidden(batch))


def require_classes(data: DataSpec, model: str) -> None:
    """A ModelError without two classes or more."""
    if data.classes < 2:
        raise ModelError(
            f"{model} needs labels, and these data have {'one class only' if data.classes else 'none'}. Name the column"
            " with -d label=COLUMN, or sort the pictures into one folder per class. Without labels: gan, infogan."
        )


def require_something_told(data: DataSpec, model: str) -> None:
    """A ModelError where there are neither classes nor attributes nor anything given."""
    if data.classes < 2 and not data.attributes and data.given is None:
        raise ModelError(
            f"{model} needs something to be told, and these data have {'one class only' if data.classes else 'none'}."
            " Give classes with -d label=COLUMN or a folder per class, attributes with -d attributes=COLUMNS, or any"
            " vectors or pictures with load_data(..., given=ARRAY). Without: gan, infogan."
        )
