"""Energy-based models: a number for every x, low where data are; samples come from Markov chains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, GenerativeModel, Player, Stage, Terms
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.negatives import Negative
from exnihilo.probability.chains import Chance, TorchChance, run_chain

INITIAL = 4096  # examples that set the starting values


class EnergyModel(GenerativeModel):
    """p(x) = exp(-E(x)) / Z,   grad -log p(x) = grad E(x) - E_{x' ~ p}[grad E(x')].

    The loss E(x+) - E(x-) has this gradient when x- are samples of the model: they are the ends of chains of `sweeps`
    steps of `kernel` that begin where `negative` says. Its value says little; near 0 is right.

    A subclass says what its chains move (`to_state`, `from_state`), the energy of that and the kernel. updates: steps
    in a round, so that the trainer's own work weighs less against very small ones.
    """

    compilable = False  # a few matrix products, and chains that are moved on

    def __init__(
        self,
        negative: Negative,
        *,
        sweeps: int = 1,
        updates: int = 1,
        optimizer: OptimizerFactory = sgd(0.1),
        batch: int = 64,
    ):
        super().__init__()
        self.negative, self.sweeps, self.updates = negative, sweeps, updates
        self.optimizer, self.batch = optimizer, batch

    def to_state(self, x: Tensor) -> Tensor:
        """Model space [B, *shape] -> what the chain moves, [B, D]."""
        raise NotImplementedError

    def from_state(self, state: Tensor) -> Tensor:
        """The inverse of `to_state`."""
        raise NotImplementedError

    def state_energy(self, state: Tensor) -> Tensor:
        """[B] the energy of a state, in nats up to a constant."""
        raise NotImplementedError

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        """One step of a chain that leaves p as it is."""
        raise NotImplementedError

    def examples(self, x: Tensor) -> Tensor:
        """Data in model space as the density sees them: dequantised, unless it is a mass over levels."""
        return x if self.mass else self.spec.dequantise(x)[0]

    def settle(self, x: Tensor) -> None:
        """Take starting values from examples [N, *shape]."""

    def players(self) -> Iterable[Player]:
        return [Player("machine", self, self.loss, steps=self.updates)]

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.initialise)]

    def initialise(self, data: Data) -> None:
        """Starting values, and chains that begin at data."""
        batch = data.batch(0, min(len(data), INITIAL), 0)
        x = self.examples(batch.x.to(next(self.parameters()).device))
        self.settle(x)
        self.negative.fill(self.starts(x))

    def starts(self, x: Tensor) -> Tensor:
        """[N, S] of examples, where chains begin."""
        return self.to_state(x)

    def loss(self, batch: Batch) -> Terms:
        positive = self.to_state(self.examples(batch.x))
        return {"gap": self.gap(positive, self.negatives(positive))}

    @torch.no_grad()
    def negatives(self, positive: Tensor) -> Tensor:
        """[M, D] the ends of this step's chains, kept for the next one."""
        ends = run_chain(self.kernel, self.negative.start(positive), self.sweeps, TorchChance())
        self.negative.keep(ends)
        return ends

    def gap(self, positive: Tensor, negative: Tensor) -> Tensor:
        """A scalar with the gradient of E(x+) - E(x-), by default that itself."""
        return self.state_energy(positive).mean() - self.state_energy(negative).mean()

    def energy(self, x: Tensor) -> Tensor:
        return self.state_energy(self.to_state(x))
