"""The deep Boltzmann machine: layers of binary units, each connected to its neighbours, all undirected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, Noise, Player, Stage, Terms
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.family import INITIAL
from exnihilo.models.energy.machines import Bernoulli, Restricted, contrast, states
from exnihilo.models.energy.negatives import Persistent
from exnihilo.models.energy.stacked import Level
from exnihilo.models.energy.units import (
    QUICK,
    BinaryUnits,
    BoltzmannModel,
    KeptEstimate,
    Mode,
    beside,
    whole_precision,
)
from exnihilo.probability.chains import Chance, Kernel, LogEstimate, TorchChance, clamped


class DeepBoltzmannMachine(BoltzmannModel):
    """p(v, h_1, ..., h_L) = exp(sum_l h_{l-1}^T W_l h_l + biases) / Z,  h_0 = v.

    Salakhutdinov & Hinton, 2009 (AISTATS). Layers of even number are independent given those of odd number and the
    other way round, so it is one restricted machine between the two (`machine`), whose sweeps, sums and annealed log Z
    it uses. Stages: every level alone, its weights counted twice where a layer will come to be beyond it; then all, by
    mean-field means of the hidden units for the data and persistent chains for the model; last, log Z is estimated and
    kept.

    `log_prob` where layers of odd number have at most 14 units in all; else `log_prob_bound` is E_q[-E] + H(q) - log Z
    with q the mean-field solution, optimistic by what the estimate of log Z lacks (see `log_partition`). Grey levels
    are taken as probabilities of bits; of these there is no likelihood. `energy` is the free energy or that bound on
    it; `encode` gives the means of h_1, h_3, ..., then of h_2, h_4, ....
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        *,
        chains: int = 100,
        low: float = 0.0,
        grey: bool = False,
        sweeps: int = 1,
        inference: int = 10,
        updates: int = 10,
        optimizer: OptimizerFactory = sgd(0.1),
        gentle: OptimizerFactory = sgd(0.02),
        batch: int = 64,
    ):
        binary = BinaryUnits(tuple(shape), low)
        sizes = (binary.size, *widths)
        negative = Persistent(chains, sum(sizes[::2]))
        super().__init__(negative, sweeps=sweeps, updates=updates, optimizer=optimizer, batch=batch)
        self.binary, self.grey, self.mass = binary, grey, not grey
        self.sizes, self.inference, self.gentle = sizes, inference, gentle
        last = len(widths) - 1
        self.levels = nn.ModuleList(
            Level(
                below,
                above,
                chains,
                up=2 if place < last else 1,
                down=2 if place > 0 else 1,
                grey=grey and place == 0,
            )
            for place, (below, above) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        )
        self.register_buffer("data_mean", torch.full((self.binary.size,), 0.5))
        self.normaliser = KeptEstimate()
        self.exact = self.quick = sum(self.sizes[1::2]) <= QUICK
        self.withdrawn |= {"score"}
        if grey:
            self.withdrawn |= {"log_prob", "log_prob_bound"}
        elif not self.exact:
            self.withdrawn |= {"log_prob"}

    @property
    def stack(self) -> list[Level]:
        """The levels, from the visible one upwards."""
        return cast("list[Level]", list(self.levels))

    @property
    def machine(self) -> Restricted:
        """The same energy between layers of even number (visible first) and of odd number, unconnected within both."""
        weights = [level.weight for level in self.stack]
        biases = [self.stack[0].below_bias, *(level.above_bias for level in self.stack)]
        even, odd = range(0, len(biases), 2), range(1, len(biases), 2)

        def block(row: int, column: int) -> Tensor:
            if column == row + 1:
                return weights[row]
            if column == row - 1:
                return weights[column].T
            return biases[0].new_zeros(self.sizes[row], self.sizes[column])

        rows = [torch.cat([block(row, column) for column in odd], dim=1) for row in even]
        return Restricted(
            Bernoulli(torch.cat([biases[row] for row in even])),
            torch.cat(rows),
            torch.cat([biases[column] for column in odd]),
        )

    # -- learning ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        alone = [
            Stage(f"level {place + 1}", partial(self._alone, place), enter=partial(self._begin, place), share=0.5)
            for place in range(len(self.stack))
        ]
        joint = Stage("together", self.players, enter=self.initialise)
        return [*alone, joint, Stage("normalise", lambda: [], enter=self._normalise)]

    def players(self) -> Iterable[Player]:
        return [Player("machine", self, self.loss, steps=self.updates, optimizer=self.gentle)]

    def _alone(self, place: int) -> Iterable[Player]:
        return [Player(f"level{place + 1}", self.stack[place], partial(self._level_loss, place), steps=self.updates)]

    def _begin(self, place: int, data: Data) -> None:
        batch = data.batch(0, min(len(data), INITIAL), 0)
        v = self.to_state(batch.x.to(self.data_mean.device))
        if place == 0:
            self.normaliser.forget()
            self.data_mean.copy_(BinaryUnits.means(v))
        self.stack[place].begin(self._infer(v, place))

    @torch.no_grad()
    def _infer(self, v: Tensor, place: int) -> Tensor:
        """States of layer `place`, drawn upwards from v with the weights that stand for the layer beyond."""
        for level in self.stack[:place]:
            v = TorchChance().bernoulli(level.upward(v))
        return v

    def _level_loss(self, place: int, batch: Batch) -> Terms:
        return {"gap": self.stack[place].gap(self._infer(self.to_state(batch.x), place), self.sweeps)}

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """A hidden layer was learned twice, from below and from above: its bias is the mean of the two.

        Then its input is the mean of what it was in the two levels, whose weights were counted twice.
        """
        for lower, upper in zip(self.stack[:-1], self.stack[1:], strict=True):
            lower.above_bias.lerp_(upper.below_bias, 0.5)

    def _normalise(self, data: Data) -> None:
        if not self.grey:
            self.normaliser.keep(self.log_partition(chains=100, temperatures=1000))

    @torch.no_grad()
    def mean_field(self, v: Tensor, *, iterations: int | None = None) -> tuple[Tensor, Tensor]:
        """Means of the layers of even number, v [B, D] first, and of odd number, that bound log p(v) best.

        Each half is set to its optimum given the other, so every iteration raises the bound.
        """
        machine, size = self.machine, v.shape[1]
        layers = [v]
        for level in self.stack:
            layers.append(level.upward(layers[-1]))
        even = torch.cat(layers[::2], dim=1)
        odd = machine.hidden(even)
        for _ in range(self.inference if iterations is None else iterations):
            even = torch.cat([v, machine.mean(odd)[:, size:]], dim=1)
            odd = machine.hidden(even)
        return even, odd

    def gap(self, positive: Tensor, negative: Tensor) -> Tensor:
        with whole_precision(positive):
            machine = self.machine
            even, odd = self.mean_field(positive.to(machine.weight.dtype))
            with torch.no_grad():
                v = torch.cat([even, negative])
                h = torch.cat([odd, machine.hidden(negative)])
            return machine.weighted_energy(v, h, contrast(len(even), len(negative), v))

    # -- what the chains move ------------------------------------------------------------------------------------

    def to_state(self, x: Tensor) -> Tensor:
        return self.binary.of(x)

    def from_state(self, state: Tensor) -> Tensor:
        return self.binary.example(state)

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        machine = self.machine
        means = machine.mean(chance.bernoulli(machine.hidden(state)))
        drawn = chance.bernoulli(means)
        return torch.where(self._visible(state), means, drawn) if self.grey else drawn

    def _visible(self, state: Tensor) -> Tensor:
        """[S] which entries of a state are visible units."""
        return torch.arange(state.shape[1], device=state.device) < self.binary.size

    def held(self, state: Tensor, known: Tensor) -> Kernel:
        return clamped(self.kernel, state, beside(known, state.shape[1]))

    def start(self, noise: Noise) -> Tensor:
        hidden = self.data_mean.new_full((sum(self.sizes[2::2]),), 0.5)
        return noise.bernoulli(torch.cat([self.data_mean, hidden]).expand(len(noise), -1))

    def show(self, state: Tensor, mode: Mode, noise: Noise) -> Tensor:
        if mode == "mean" and not self.grey:
            state = self.machine.mean(noise.bernoulli(self.machine.hidden(state)))
        state = state[:, : self.binary.size]
        return noise.bernoulli(state) if self.grey and mode == "draw" else state

    # -- likelihood ----------------------------------------------------------------------------------------------

    def state_energy(self, state: Tensor) -> Tensor:
        """[B] of visible units: -log of the sum over hidden states where that is exact, else the mean-field bound."""
        with whole_precision(state):
            return self._free_energy(state) if self.exact else self.bounded_energy(state)

    def _free_energy(self, v: Tensor) -> Tensor:
        """[B] by summing over the layers of odd number; given them, the other hidden ones are independent."""
        machine, size = self.machine, v.shape[1]
        drive = v @ machine.weight[:size]
        beyond = Bernoulli(machine.visible.bias[size:])
        parts = []
        for h in states(len(machine.hidden_bias), v):
            constant = h @ machine.hidden_bias + beyond.log_normaliser(h @ machine.weight[size:].T)
            parts.append((drive @ h.T + constant).logsumexp(dim=1))
        return -torch.stack(parts).logsumexp(dim=0) - v @ machine.visible.bias[:size]

    def bounded_energy(self, v: Tensor) -> Tensor:
        """[B] E_q[E(v, h)] - H(q), q the mean-field solution: an upper bound on the free energy."""
        even, odd = self.mean_field(v)
        m = torch.cat([even[:, v.shape[1] :], odd], dim=1)
        entropy = -(torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)).sum(dim=1)
        return self.machine.energy(even, odd) - entropy

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        if self.grey:
            raise self._lacks("log_prob_bound")
        if self.exact:
            return self.log_prob(x)
        return -self.energy(x) - self.normaliser.interval(self.log_partition)[0]

    def estimated_log_partition(self, *, seed: int = 0) -> tuple[float, float, float] | None:
        return None if self.grey or self.exact else self.normaliser.interval(self.log_partition)

    def log_normaliser(self) -> Tensor:
        return self.machine.log_partition()

    def annealed(self, chains: int, temperatures: int, seed: int) -> LogEstimate:
        hidden = self.data_mean.new_zeros(sum(self.sizes[2::2]))
        return self.machine.annealed(torch.cat([self.data_mean.logit(), hidden]), chains, temperatures, seed)

    # -- codes ---------------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        even, odd = self.mean_field(self.to_state(x))
        return torch.cat([odd, even[:, self.binary.size :]], dim=1)

    def decode(self, z: Tensor) -> Tensor:
        odd = z[:, : sum(self.sizes[1::2])]
        return self.from_state(self.machine.mean(odd)[:, : self.binary.size])
