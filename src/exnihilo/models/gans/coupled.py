"""Several domains at once: generators that share their first layers, critics that share their last."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, Data, Stage, TrainingError
from exnihilo.models.gans.family import GAN


def pick(options: Iterable[Tensor], index: Tensor) -> Tensor:
    """[B, ...] of each example the option [B, ...] that its index [B] names."""
    return torch.stack(list(options), dim=1)[torch.arange(len(index), device=index.device), index]


def alike(layer: nn.Module, count: int) -> list[nn.Module]:
    """The layer and copies of it, equal to begin with."""
    return [layer, *(copy.deepcopy(layer) for _ in range(count - 1))]


def apart(layer: nn.Module, count: int) -> list[nn.Module]:
    """The same, each copy with first weights of its own."""
    layers = alike(layer, count)
    for part in [part for copied in layers[1:] for part in copied.modules()]:
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            part.reset_parameters()
    return layers


def domain_of(asked: Batch | Conditions, n: int, device: torch.device) -> Tensor:
    """[n] the domain asked for, the first where none is."""
    return torch.zeros(n, dtype=torch.long, device=device) if asked.label is None else asked.label.clamp_min(0)


class CoupledGenerator(nn.Module):
    """G_k(z) = head_k(trunk(z)): what a sample shows is decided for all domains, only how it looks for each."""

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module]):
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)

    def forward(self, z: Tensor, asked: Batch | Conditions) -> Tensor:
        h = self.trunk(z)
        return pick((head(h) for head in self.heads), domain_of(asked, len(z), z.device))


class CoupledCritic(nn.Module):
    """s_k(x) = trunk(entry_k(x)): each domain is read in its own way and judged in the same."""

    def __init__(self, entries: Iterable[nn.Module], trunk: nn.Module):
        super().__init__()
        self.entries, self.trunk = nn.ModuleList(entries), trunk

    def forward(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        return self.trunk(pick((entry(x) for entry in self.entries), domain_of(asked, len(x), x.device)))


class CoGAN(GAN):
    """sum over domains k of  E log D_k(x_k) + E log(1 - D_k(G_k(z))),  layers of the G_k and of the D_k shared.

    Liu & Tuzel, 2016, arXiv:1606.07536, Eq. 5. The classes are the domains, drawn equally often; examples without a
    label are not drawn. `generator` and `critic` take the domain as label. A z and two labels make two samples that
    correspond, though no pair was ever seen: the same seed with another label gives the counterpart. Caution: nothing
    but the shared layers makes them correspond, so the domains must differ by what few layers can express.
    """

    labelled = True

    def stages(self) -> Iterator[Stage]:
        """One, on the domains in equal parts."""
        yield Stage("train", self.players, view=balanced)


def balanced(data: Data) -> Data:
    """The examples of each class as often as those of any other, those without a class never."""
    label = data.first().label
    if label is None or not (label >= 0).any():
        raise TrainingError("No training example has a label, so there are no domains. Give each example its domain.")
    counts = torch.bincount(label[label >= 0])
    return data.weighted(torch.where(label >= 0, 1.0 / counts[label.clamp_min(0)], 0.0))
