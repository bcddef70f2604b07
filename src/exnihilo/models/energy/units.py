"""What all Boltzmann machines share: units that stand for x, chains that sample and fill gaps, likelihoods by log Z."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Noise, Terms, check_mask
from exnihilo.models.energy.family import EnergyModel
from exnihilo.probability.chains import Kernel, LogEstimate, run_chain

QUICK = 14  # units up to which log Z is cheap enough to be summed at every validation

#: Of a sampled state: show its visible units drawn, or their means given the others; means for grey levels.
Mode = Literal["auto", "mean", "draw"]


@dataclass(frozen=True)
class BinaryUnits:
    """Binary units for x: model space [low, 1] is taken linearly to [0, 1], where grey levels are probabilities."""

    shape: tuple[int, ...]
    low: float = 0.0

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def of(self, x: Tensor) -> Tensor:
        """[B, *shape] -> [B, D]."""
        x = x.flatten(1)
        return (x - self.low) / (1 - self.low) if self.low else x

    def example(self, v: Tensor) -> Tensor:
        """The inverse of `of`."""
        return (v * (1 - self.low) + self.low).view(len(v), *self.shape)

    @staticmethod
    def means(v: Tensor) -> Tensor:
        """[D] the means of units [N, D], away from 0 and 1, where their log-odds end."""
        return v.mean(dim=0).clamp(0.01, 0.99)


class BoltzmannModel(EnergyModel):
    """p(v, h) = exp(-E(v, h)) / Z over units that are updated one group after the other, given all others.

    A subclass says what state its chains move: the visible units come first in it. `energy` is of x alone, hidden
    units summed out, so that log p(x) = -energy(x) - log Z; `exact` says whether log Z and that sum can be had.
    """

    data_mean: Tensor  # [D] of the visible units, where chains start
    grey: bool  # x is no state of the units, so that there is no likelihood of it
    exact: bool
    quick: bool  # the exact figure is cheap enough for every validation

    def start(self, noise: Noise) -> Tensor:
        """[len(noise), S] a state to begin with: unconnected units with the data's means."""
        raise NotImplementedError

    def held(self, state: Tensor, known: Tensor) -> Kernel:
        """The kernel of the units given those of `state` [B, S] where known [B, D] is True."""
        raise NotImplementedError

    def show(self, state: Tensor, mode: Mode, noise: Noise) -> Tensor:
        """[B, D] the visible units of a state."""
        raise NotImplementedError

    def log_normaliser(self) -> Tensor:
        """log Z [] in float64, summed over all states; differentiable. An OptionError where those are too many."""
        raise NotImplementedError

    def annealed(self, chains: int, temperatures: int, seed: int) -> LogEstimate:
        """log Z by annealed importance sampling from independent units with the data's means."""
        raise NotImplementedError

    @torch.no_grad()
    def log_partition(
        self,
        method: Literal["auto", "exact", "ais"] = "auto",
        *,
        chains: int = 200,
        temperatures: int = 2000,
        seed: int = 0,
    ) -> LogEstimate:
        """log Z in nats, such that log p(x) = -energy(x) - log Z: summed where it can be, else estimated.

        By annealed importance sampling from independent units with the data's means (Salakhutdinov & Murray, 2008,
        ICML). Caution: an estimate makes likelihoods optimistic, see LogEstimate; double `temperatures` until it stays.
        """
        if method == "exact" or (method == "auto" and self.exact):
            return LogEstimate.known(float(self.log_normaliser()))
        return self.annealed(chains, temperatures, seed)

    def estimated_log_partition(self, *, seed: int = 0) -> tuple[float, float, float] | None:
        if self.grey or self.exact:
            return None
        estimate = self.log_partition("ais", temperatures=1000, seed=seed)
        return estimate.value, estimate.low, estimate.high

    def validate(self, batch: Batch) -> Terms:
        """The exact figure where it is cheap; else none: neither the gap nor a reconstruction tells good from bad."""
        return super().validate(batch) if self.quick and "log_prob" in self.capabilities else {}

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        if "log_prob" in self.withdrawn:
            raise self._lacks("log_prob")
        energy = self.energy(x)
        return -energy - self.log_normaliser().to(energy)

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        sweeps: Annotated[int, 0, 10_000_000] = 1000,
        mode: Mode = "auto",
    ) -> Tensor:
        """The end of a chain of `sweeps` Gibbs sweeps that starts at independent units with the data's means.

        mode: `mean` shows the expected visible units given the others, `draw` a visible state; `auto` means the former
        for grey levels, which binary states cannot show.
        """
        state = run_chain(self.kernel, self.start(noise), sweeps, noise)
        return self.from_state(self.show(state, mode, noise))

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, sweeps: int = 500) -> Tensor:
        """Gibbs sampling with the known entries held (mask True = known), started at the others' means."""
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        known, seen = mask.flatten(1), self.to_state(x)
        state = self.start(noise)
        size = seen.shape[1]
        state = torch.cat([torch.where(known, seen, state[:, :size]), state[:, size:]], dim=1)
        state = run_chain(self.held(state, known), state, sweeps, noise)
        return torch.where(mask, x, self.from_state(self.show(state, "auto", noise)))


class KeptEstimate(nn.Module):
    """log Z of a trained machine, estimated once at the end of training and saved with the weights."""

    figures: Tensor  # value, low, high
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("figures", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("known", torch.tensor(False))

    def keep(self, estimate: LogEstimate) -> None:
        self.figures.copy_(torch.tensor(estimate[:3], dtype=torch.float64))
        self.known.fill_(True)

    def forget(self) -> None:
        self.known.fill_(False)

    def interval(self, otherwise: Callable[[], LogEstimate]) -> tuple[float, float, float]:
        """(value, low, high) that were kept, else what an estimate says now."""
        if not self.known:
            return otherwise()[:3]
        value, low, high = self.figures.tolist()
        return value, low, high


def whole_precision(like: Tensor) -> AbstractContextManager[object]:
    """Inside, no autocast: in half precision energies of hundreds of nats are rounded."""
    device = like.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if casts else nullcontext()


def beside(known: Tensor, size: int) -> Tensor:
    """[B, size] a mask of visible units made one of whole states, of which the rest is free."""
    return torch.cat([known, known.new_zeros(len(known), size - known.shape[1])], dim=1)
