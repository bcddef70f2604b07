"""The restricted Boltzmann machine as a model: learning, sampling, exact and estimated likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Noise, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.family import EnergyModel
from exnihilo.models.energy.machines import ENUMERABLE, Bernoulli, Gaussian, Restricted, Visible
from exnihilo.models.energy.negatives import Negative
from exnihilo.probability.chains import (
    Chance,
    LogEstimate,
    annealed_importance,
    annealing_schedule,
    clamped,
    log_mean_exp,
    run_chain,
)

QUICK = 14  # units up to which log Z is cheap enough to be summed at every validation


class RestrictedBoltzmannMachine(EnergyModel):
    """p(v, h) = exp(a . v + b . h + v^T W h) / Z over binary units; or real v with p(v | h) = N(a + s W h, s^2).

    Smolensky, 1986; learned as Hinton, 2002 and Tieleman, 2008 describe (Neural Computation 14; ICML). Its `energy`
    is the free energy, hidden units summed out; `encode` is p(h | x), `decode` E[x | h]. The likelihood is exact where
    one layer has at most 20 units (real v: the hidden one); beyond that there is `log_partition` by annealed importance
    sampling. Grey levels are taken as the probabilities with which binary units are 1, in the data and along the chains
    (Hinton, 2010, "A practical guide", Section 3): the machine is then no distribution over grey levels and has no
    likelihood of them.

    units: `bernoulli` takes x linearly from [low, 1] to [0, 1]; `gaussian` standardises x. grey: x has more than the
    two levels that binary units can take.
    """

    data_mean: Tensor
    data_scale: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        hidden: int,
        negative: Negative,
        *,
        units: Literal["bernoulli", "gaussian"] = "bernoulli",
        low: float = 0.0,
        grey: bool = False,
        sweeps: int = 1,
        updates: int = 10,
        optimizer: OptimizerFactory = sgd(0.1),
        batch: int = 64,
    ):
        super().__init__(negative, sweeps=sweeps, updates=updates, optimizer=optimizer, batch=batch)
        size = math.prod(shape)
        self.shape, self.units, self.low, self.grey = tuple(shape), units, low, grey
        small = 0.01 if units == "bernoulli" else 1 / math.sqrt(size)  # standardised data have no pull at W = 0
        self.weight = nn.Parameter(small * torch.randn(size, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(size))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.log_scale = nn.Parameter(torch.zeros(size)) if units == "gaussian" else None
        self.register_buffer("data_mean", torch.full((size,), 0.5 if units == "bernoulli" else 0.0))
        self.register_buffer("data_scale", torch.ones(size))
        self.mass = units == "bernoulli" and not grey
        smaller = min(size, hidden) if units == "bernoulli" else hidden
        self.quick = smaller <= QUICK
        if grey or smaller > ENUMERABLE:
            self.withdrawn |= {"log_prob", "log_prob_bound"}
        if units == "bernoulli":
            self.withdrawn |= {"score"}  # the energy of other than binary states means nothing

    @property
    def machine(self) -> Restricted:
        """The parameters as one machine."""
        visible: Visible
        if self.log_scale is None:
            visible = Bernoulli(self.visible_bias)
        else:
            visible = Gaussian(self.visible_bias, self.log_scale)
        return Restricted(visible, self.weight, self.hidden_bias)

    # -- what the chains move ------------------------------------------------------------------------------------

    def to_state(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (x - self.low) / (1 - self.low) if self.log_scale is None else (x - self.data_mean) / self.data_scale

    def from_state(self, state: Tensor) -> Tensor:
        x = state * (1 - self.low) + self.low if self.log_scale is None else state * self.data_scale + self.data_mean
        return x.reshape(len(state), *self.shape)

    def state_energy(self, state: Tensor) -> Tensor:
        with torch.autocast(state.device.type, enabled=False):  # in half precision hundreds of nats are rounded
            return self.machine.free_energy(state.to(self.weight.dtype))

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        return self.machine.mean_sweep(state, chance) if self.grey else self.machine.sweep(state, chance)

    def examples(self, x: Tensor) -> Tensor:
        return x if self.units == "bernoulli" else self.spec.dequantise(x)[0]

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Visible biases such that, unconnected, each unit has the mean of the data (Hinton, 2010, Section 8)."""
        x = x.flatten(1)
        if self.units == "gaussian":
            self.data_mean.copy_(x.mean(dim=0))
            self.data_scale.copy_(x.std(dim=0, correction=0).clamp(min=1e-3))
        else:
            self.data_mean.copy_(self.to_state(x).mean(dim=0).clamp(0.01, 0.99))
            self.visible_bias.copy_(self.data_mean.logit())

    # -- what it can do ------------------------------------------------------------------------------------------

    def validate(self, batch: Batch) -> Terms:
        """The exact figure where it is cheap; else none: neither the gap nor a reconstruction tells good from bad."""
        return super().validate(batch) if self.quick and "log_prob" in self.capabilities else {}

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        if "log_prob" in self.withdrawn:
            raise self._lacks("log_prob")
        free = self.energy(x)
        stretch = self.data_scale.log().sum() if self.units == "gaussian" else 0.0
        return -free - self.machine.log_partition().to(free) - stretch

    def encode(self, x: Tensor) -> Tensor:
        return self.machine.hidden(self.to_state(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.from_state(self.machine.mean(z))

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        sweeps: Annotated[int, 0, 10_000_000] = 1000,
        mode: Literal["auto", "mean", "draw"] = "auto",
    ) -> Tensor:
        """The end of a chain of `sweeps` Gibbs sweeps that starts at independent units with the data's means.

        mode: `mean` shows E[x | h] of the last hidden state, `draw` a visible state drawn from it; `auto` means the
        former for grey levels, which binary states cannot show.
        """
        state = run_chain(self.kernel, self._independent(noise), sweeps, noise)
        return self.from_state(self._show(state, mode, noise))

    def _independent(self, noise: Noise) -> Tensor:
        """[len(noise), D] states of unconnected units with the means of the data."""
        if self.units == "gaussian":
            return noise.normal(len(self.data_mean))
        return noise.bernoulli(self.data_mean.expand(len(noise), -1))

    def _show(self, state: Tensor, mode: str, noise: Noise) -> Tensor:
        if self.grey:  # the chain has moved means all along
            return noise.bernoulli(state) if mode == "draw" else state
        return self.machine.mean(noise.bernoulli(self.machine.hidden(state))) if mode == "mean" else state

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, sweeps: int = 500) -> Tensor:
        """Gibbs sampling with the known entries held (mask True = known), started at the others' means."""
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        state, known = self.to_state(x), mask.flatten(1)
        start = torch.where(known, state, self._independent(noise))
        state = run_chain(clamped(self.kernel, state, known), start, sweeps, noise)
        return torch.where(mask, x, self.from_state(self._show(state, "auto", noise)))

    @torch.no_grad()
    def log_partition(
        self,
        method: Literal["auto", "exact", "ais"] = "auto",
        *,
        chains: int = 200,
        temperatures: int = 2000,
        seed: int = 0,
    ) -> LogEstimate:
        """log Z in nats, of the energy over states: summed where it can be, else by annealed importance sampling.

        Salakhutdinov & Murray, 2008 (ICML), from independent units with the data's means. log p(x) = -energy(x) - log Z
        (for real units less the sum of log standard deviations); with an estimate it is optimistic, see LogEstimate.
        """
        smaller = min(self.weight.shape) if self.units == "bernoulli" else self.weight.shape[1]
        if method == "exact" or (method == "auto" and smaller <= ENUMERABLE):
            value = float(self.machine.log_partition())
            return LogEstimate(value, value, value, math.inf)
        machine, noise = self.machine.double(), Noise(seed, chains, device=self.weight.device)
        base = (
            self.data_mean.double().logit() if self.units == "bernoulli" else torch.zeros_like(self.data_mean).double()
        )
        free = machine.tempered(0.0, base)
        start = free.visible.draw(torch.zeros(chains, len(base), dtype=base.dtype, device=base.device), noise)
        weights = annealed_importance(
            lambda t, v: -machine.tempered(t, base).free_energy(v),
            lambda t, v, chance: machine.tempered(t, base).sweep(v, chance),
            start,
            annealing_schedule(temperatures),
            noise,
        )
        return log_mean_exp(weights + machine.base_log_partition(base))
