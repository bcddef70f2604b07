"""The Boltzmann machine: binary units, any of which may be connected, some of which may be hidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Noise, Player, Terms
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.machines import ENUMERABLE, states
from exnihilo.models.energy.negatives import Negative
from exnihilo.models.energy.pairwise import Pairwise
from exnihilo.models.energy.units import QUICK, BinaryUnits, BoltzmannModel, Mode, beside, whole_precision
from exnihilo.probability.chains import Chance, Kernel, LogEstimate

Moments = tuple[Tensor, Tensor]  # E[x] [n], E[x x^T] [n, n]
KEPT = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  # shares of the correlations that mean field tries
PROBES, TEMPERATURES = 50, 100  # of the annealing that tells how likely the data are by each


class Rule:
    """How a Boltzmann machine learns: what stands for its own moments in the gradient of the likelihood."""

    solves = False  # `settle` is all there is to learn

    def settle(self, model: BoltzmannMachine, v: Tensor) -> None:
        """Take starting values from visible units [N, D], beside the biases of the data's means."""

    def moments(self, model: BoltzmannMachine, positive: Tensor) -> Moments:
        """The machine's own E[x] and E[x x^T]."""
        raise NotImplementedError

    def loss(self, model: BoltzmannMachine, v: Tensor) -> Terms:
        """grad -log p(v) = <x x^T>_model - <x x^T>_data, as the gradient of a scalar that is linear in W and b.

        Ackley et al., 1985; hidden units of the data are at their mean-field means.
        """
        with whole_precision(v), torch.no_grad():
            positive = model.complete(v)
            mean, second = self.moments(model, positive)
            mean = mean.to(positive) - positive.mean(dim=0)
            second = second.to(positive) - positive.T @ positive / len(positive)
        with whole_precision(v):
            machine = model.machine
            return {"gap": 0.5 * (machine.weight * second).sum() + torch.dot(machine.bias, mean)}


class Enumerated(Rule):
    """Moments summed over all states: the exact gradient, of a concave likelihood where no unit is hidden."""

    def moments(self, model: BoltzmannMachine, positive: Tensor) -> Moments:
        return model.machine.moments()


class Sampled(Rule):
    """Moments of chains that go on from step to step, or start at data, as the model's `negative` says."""

    def moments(self, model: BoltzmannMachine, positive: Tensor) -> Moments:
        x = model.negatives(positive)
        return x.mean(dim=0), x.T @ x / len(x)


class MeanField(Rule):
    """The machine whose mean-field solution has the data's means m, and whose linear response their covariance C:

        W = -C^-1 off the diagonal,   b = logit(m) - W m,   as C = (diag(1 / (m (1 - m))) - W)^-1 in mean field.

    Kappen & Rodriguez, 1998, Neural Computation 10; in closed form, so nothing is left to train. Without the response
    (Peterson & Anderson, 1987, Complex Systems 1) units seem unrelated and nothing can be learnt of their pairs.
    Caution: for weak couplings only, and no unit hidden. Where units are bound strongly, as the pixels of digits are,
    the chains of that machine leave the data for good. So only a share of the covariances is taken, raised as long as
    the data gain likelihood by a short annealing: of digits in black and white about a fifth. rule=pcd learns them all.
    """

    solves = True

    @torch.no_grad()
    def settle(self, model: BoltzmannMachine, v: Tensor) -> None:
        best, covariance = -torch.inf, v.T.cov(correction=0)
        for kept in KEPT:
            machine = self.solved(model.data_mean, kept * covariance)
            log_z = machine.annealed(model.data_mean.logit(), PROBES, TEMPERATURES, seed=0).value
            log_prob = -float(machine.energy(v).mean()) - log_z
            if not log_prob > best:
                break
            best = log_prob
            model.weight.copy_(machine.weight)
            model.bias.copy_(machine.bias)

    @staticmethod
    def solved(mean: Tensor, covariance: Tensor) -> Pairwise:
        """The solution for a covariance that has m (1 - m) on the diagonal, whatever was given there."""
        n = torch.arange(len(mean), device=mean.device)
        covariance = covariance.index_put((n, n), mean * (1 - mean))
        weight = -torch.linalg.inv(covariance).index_put((n, n), mean.new_zeros(()))
        return Pairwise(weight, mean.logit() - weight @ mean)


class PseudoLikelihood(Rule):
    """Minus sum_i log p(v_i | v_-i) is minimised instead (Besag, 1975): no chains, no log Z; no unit hidden.

    Grey levels are drawn as bits first.
    """

    def loss(self, model: BoltzmannMachine, v: Tensor) -> Terms:
        bits = torch.rand_like(v).lt_(v) if model.grey else v
        with whole_precision(v):
            return {"pseudo_nats": -model.machine.pseudo_log_prob(bits).mean()}


class BoltzmannMachine(BoltzmannModel):
    """p(x) = exp(x^T W x / 2 + b . x) / Z over binary units x = (v, h), every pair of which is connected.

    Ackley, Hinton & Sejnowski, 1985, Cognitive Science 9. The likelihood is exact up to 20 units in all, hidden ones
    included. `energy` of x sums `hidden` units out where that is exact, else it is the mean-field free energy, an upper
    bound. Caution: a sweep visits the units one after the other; beyond some hundred of them an rbm is faster by far.

    grey: x has more than two levels, which are taken as probabilities of bits, as the machine has no others.
    """

    def __init__(
        self,
        shape: Sequence[int],
        rule: Rule,
        negative: Negative,
        *,
        hidden: int = 0,
        low: float = 0.0,
        grey: bool = False,
        sweeps: int = 1,
        optimizer: OptimizerFactory = sgd(0.1),
        batch: int = 64,
    ):
        super().__init__(negative, sweeps=sweeps, optimizer=optimizer, batch=batch)
        self.rule, self.binary, self.hidden, self.grey = rule, BinaryUnits(tuple(shape), low), hidden, grey
        units = self.binary.size + hidden
        self.weight = nn.Parameter(0.01 * torch.randn(units, units))  # what is above the diagonal counts
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("data_mean", torch.full((self.binary.size,), 0.5))
        self.mass = not grey
        self.exact, self.quick = units <= ENUMERABLE, units <= QUICK
        self.withdrawn |= {"score"}
        if grey or not self.exact:
            self.withdrawn |= {"log_prob", "log_prob_bound"}

    @property
    def machine(self) -> Pairwise:
        """The parameters as one machine."""
        upper = self.weight.triu(1)
        return Pairwise(upper + upper.T, self.bias)

    def players(self) -> Iterable[Player]:
        return [] if self.rule.solves else super().players()

    def loss(self, batch: Batch) -> Terms:
        return self.rule.loss(self, self.to_state(batch.x))

    def complete(self, v: Tensor) -> Tensor:
        """[B, n] the visible units with mean-field means of the hidden ones."""
        if not self.hidden:
            return v
        start = torch.cat([v, v.new_full((len(v), self.hidden), 0.5)], dim=1)
        shown = torch.zeros_like(start, dtype=torch.bool)
        shown[:, : v.shape[1]] = True
        return self.machine.mean_field(start, shown)

    # -- what the chains move ------------------------------------------------------------------------------------

    def to_state(self, x: Tensor) -> Tensor:
        return self.binary.of(x)

    def from_state(self, state: Tensor) -> Tensor:
        return self.binary.example(state)

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        return self.machine.sweep()(state, chance)

    def held(self, state: Tensor, known: Tensor) -> Kernel:
        return self.machine.sweep(beside(known, state.shape[1]))

    def start(self, noise: Noise) -> Tensor:
        return noise.bernoulli(self._base().sigmoid().expand(len(noise), -1))

    def show(self, state: Tensor, mode: Mode, noise: Noise) -> Tensor:
        shown = self.machine.means(state) if mode == "mean" or (mode == "auto" and self.grey) else state
        return shown[:, : self.binary.size]

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """Visible biases such that, unconnected, each unit has the mean of the data."""
        v = self.to_state(x)
        self.data_mean.copy_(BinaryUnits.means(v))
        self.bias[: self.binary.size] = self.data_mean.logit()
        self.rule.settle(self, v)

    # -- what it can do ------------------------------------------------------------------------------------------

    def state_energy(self, state: Tensor) -> Tensor:
        """[B] of visible units, the hidden ones summed out (or bounded)."""
        with whole_precision(state):
            v, machine = state.to(self.bias.dtype), self.machine
            if not self.hidden:
                return machine.energy(v)
            if not self.exact:
                return self.bounded_energy(v)
            parts = []
            for h in states(self.hidden, v):
                both = torch.cat([v.repeat_interleave(len(h), dim=0), h.repeat(len(v), 1)], dim=1)
                parts.append((-machine.energy(both)).view(len(v), len(h)).logsumexp(dim=1))
            return -torch.stack(parts).logsumexp(dim=0)

    def bounded_energy(self, v: Tensor) -> Tensor:
        """[B] E_q[E(v, h)] - H(q), q the mean-field solution: an upper bound on the free energy."""
        both = self.complete(v)
        m = both[:, self.binary.size :]
        entropy = -(torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)).sum(dim=1)
        return self.machine.energy(both) - entropy

    def log_normaliser(self) -> Tensor:
        return self.machine.log_partition()

    def annealed(self, chains: int, temperatures: int, seed: int) -> LogEstimate:
        return self.machine.annealed(self._base(), chains, temperatures, seed)

    def _base(self) -> Tensor:
        """[n] biases of unconnected units with the data's means; of hidden ones 0."""
        return torch.cat([self.data_mean.logit(), self.data_mean.new_zeros(self.hidden)])
