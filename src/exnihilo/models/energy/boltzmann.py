"""The restricted Boltzmann machine as a model: learning, sampling, exact and estimated likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Noise, Terms
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.machines import ENUMERABLE, Bernoulli, Gaussian, Restricted, Visible, contrast
from exnihilo.models.energy.negatives import Negative
from exnihilo.models.energy.units import QUICK, BinaryUnits, BoltzmannModel, Mode, whole_precision
from exnihilo.probability.chains import Chance, Kernel, LogEstimate, TorchChance, clamped


class RestrictedBoltzmannMachine(BoltzmannModel):
    """p(v, h) = exp(a . v + b . h + v^T W h) / Z over binary units; or real v with p(v | h) = N(a + s W h, s^2).

    Smolensky, 1986; learned as Hinton, 2002 and Tieleman, 2008 describe (Neural Computation 14; ICML). Its `energy`
    is the free energy, hidden units summed out; `encode` is p(h | x), `decode` E[x | h]. The likelihood is exact where
    one layer has at most 20 units (real v: the hidden one); beyond that there is `log_partition` by annealed importance
    sampling. Grey levels are taken as the probabilities with which binary units are 1, in the data and along the chains
    (Hinton, 2010, "A practical guide"): the machine is then no distribution over grey levels and has no
    likelihood of them.

    units: `bernoulli` takes x linearly from [low, 1] to [0, 1]; `gaussian` standardises x. grey: x has more than the
    two levels that binary units can take. sweeps: of the chains of an update, the k of CD-k.
    """

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
        self.binary, self.units, self.grey = BinaryUnits(tuple(shape), low), units, grey
        size = self.binary.size
        small = 0.01 if units == "bernoulli" else 1 / math.sqrt(size)  # standardised data have no pull at W = 0
        self.weight = nn.Parameter(small * torch.randn(size, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(size))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.log_scale = nn.Parameter(torch.zeros(size)) if units == "gaussian" else None
        self.register_buffer("data_mean", torch.full((size,), 0.5 if units == "bernoulli" else 0.0))
        self.register_buffer("data_scale", torch.ones(size))
        self.mass = units == "bernoulli" and not grey
        self.exact, self.quick = self.machine.smaller <= ENUMERABLE, self.machine.smaller <= QUICK
        if grey or not self.exact:
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
        return self.binary.of(x) if self.log_scale is None else (x.flatten(1) - self.data_mean) / self.data_scale

    def from_state(self, state: Tensor) -> Tensor:
        if self.log_scale is None:
            return self.binary.example(state)
        return (state * self.data_scale + self.data_mean).view(len(state), *self.binary.shape)

    def state_energy(self, state: Tensor) -> Tensor:
        with whole_precision(state):
            return self.machine.free_energy(state.to(self.weight.dtype))

    def starts(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.machine.hidden(self.to_state(x))

    def loss(self, batch: Batch) -> Terms:
        v = self.to_state(self.examples(batch.x))
        with whole_precision(v):
            machine = self.machine
            both, h = self.phases(machine, v)
            return {"gap": machine.weighted_energy(both, h, contrast(len(v), len(both) - len(v), v))}

    @torch.no_grad()
    def phases(self, machine: Restricted, v: Tensor) -> tuple[Tensor, Tensor]:
        """Visible units [N + M, D], data and then the ends of the chains, and what they expect of the hidden ones.

        Chains are kept as the means of their hidden units, from which the next step draws: each is computed once, a
        sweep is two matrix products. So the first draw of a step follows the weights before the last update.
        """
        h = machine.hidden(v)
        chance, ends, means = TorchChance(), v, self.negative.start(h)
        for _ in range(self.sweeps):
            drive = chance.bernoulli(means) @ machine.weight.T
            ends = machine.visible.mean(drive) if self.grey else machine.visible.draw(drive, chance)
            means = machine.hidden(ends)
        self.negative.keep(means)
        return torch.cat([v, ends]), torch.cat([h, means])

    def negatives(self, positive: Tensor) -> Tensor:
        return self.phases(self.machine, positive)[0][len(positive) :]

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        return self.machine.mean_sweep(state, chance) if self.grey else self.machine.sweep(state, chance)

    def held(self, state: Tensor, known: Tensor) -> Kernel:
        return clamped(self.kernel, state, known)

    def start(self, noise: Noise) -> Tensor:
        if self.units == "gaussian":
            return noise.normal(len(self.data_mean))
        return noise.bernoulli(self.data_mean.expand(len(noise), -1))

    def show(self, state: Tensor, mode: Mode, noise: Noise) -> Tensor:
        if self.grey:  # the chain has moved means all along
            return noise.bernoulli(state) if mode == "draw" else state
        return self.machine.mean(noise.bernoulli(self.machine.hidden(state))) if mode == "mean" else state

    def examples(self, x: Tensor) -> Tensor:
        return x if self.units == "bernoulli" else self.spec.dequantise(x)[0]

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Visible biases such that, unconnected, each unit has the mean of the data (Hinton, 2010)."""
        if self.units == "gaussian":
            x = x.flatten(1)
            self.data_mean.copy_(x.mean(dim=0))
            self.data_scale.copy_(x.std(dim=0, correction=0).clamp(min=1e-3))
        else:
            self.data_mean.copy_(BinaryUnits.means(self.to_state(x)))
            self.visible_bias.copy_(self.data_mean.logit())

    # -- what it can do ------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        return self.machine.hidden(self.to_state(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.from_state(self.machine.mean(z))

    def log_normaliser(self) -> Tensor:
        return self.machine.log_partition() + self._stretch()

    def annealed(self, chains: int, temperatures: int, seed: int) -> LogEstimate:
        base = self.data_mean.logit() if self.units == "bernoulli" else torch.zeros_like(self.data_mean)
        return self.machine.annealed(base, chains, temperatures, seed).plus(float(self._stretch()))

    def _stretch(self) -> Tensor:
        """log |dx / dv| of real units, which `to_state` standardises."""
        return self.data_scale.double().log().sum()
