"""The deep belief net: restricted machines stacked on each other, only the topmost of them undirected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Player, Stage, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, sgd
from exnihilo.models.energy.family import INITIAL
from exnihilo.models.energy.machines import ENUMERABLE, Bernoulli, Restricted, contrast
from exnihilo.models.energy.negatives import Persistent
from exnihilo.models.energy.units import BinaryUnits, KeptEstimate, Mode, whole_precision
from exnihilo.probability.chains import Chance, LogEstimate, TorchChance, run_chain

ENERGY_DRAWS = 8  # hidden states behind the energy of an example


class Level(nn.Module):
    """One restricted machine of a stack, with its persistent chains: layers below [D] and above [H].

    up, down: how many times its weights count in that direction; 2 stands for the layer beyond, which a deep Boltzmann
    machine will have there (Salakhutdinov & Hinton, 2009). grey: below are means all along.
    """

    def __init__(self, below: int, above: int, chains: int, *, up: float = 1, down: float = 1, grey: bool = False):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(below, above))
        self.below_bias, self.above_bias = nn.Parameter(torch.zeros(below)), nn.Parameter(torch.zeros(above))
        self.negative = Persistent(chains, below)
        self.up, self.down, self.grey = up, down, grey

    @property
    def machine(self) -> Restricted:
        """The parameters as one machine, every weight counted once."""
        return Restricted(Bernoulli(self.below_bias), self.weight, self.above_bias)

    def upward(self, v: Tensor) -> Tensor:
        """[B, H] p(h = 1 | v)."""
        return torch.addmm(self.above_bias, v, self.weight, alpha=self.up).sigmoid()

    def downward(self, h: Tensor) -> Tensor:
        """[B, D] log-odds of v given h."""
        return torch.addmm(self.below_bias, h, self.weight.T, alpha=self.down)

    def sweep(self, v: Tensor, chance: Chance) -> Tensor:
        """One sweep of block Gibbs sampling."""
        means = self.downward(chance.bernoulli(self.upward(v))).sigmoid()
        return means if self.grey else chance.bernoulli(means)

    def gap(self, v: Tensor, sweeps: int) -> Tensor:
        """A scalar with the gradient of -log p(v), by chains that go on `sweeps` further."""
        with whole_precision(v):
            with torch.no_grad():
                chains = run_chain(self.sweep, self.negative.start(v), sweeps, TorchChance())
                self.negative.keep(chains)
                both = torch.cat([v, chains])
                h = self.upward(both)
            return self.machine.weighted_energy(both, h, contrast(len(v), len(chains), v))

    @torch.no_grad()
    def begin(self, v: Tensor, lower: Level | None = None) -> None:
        """Starting values from states v [N, D] of the layer below, and chains that begin there.

        On top of a level that is trained, it starts as that one upside down: then the two make the same p(v), and the
        bound on it can only rise (Hinton, Osindero & Teh, 2006). Units that there are more of start with
        small weights; where there are fewer, it starts like any machine.
        """
        if lower is not None and len(lower.below_bias) <= len(self.above_bias):
            size = len(lower.below_bias)
            self.weight[:, :size] = lower.weight.T
            self.below_bias.copy_(lower.above_bias)
            self.above_bias[:size] = lower.below_bias
        else:
            self.below_bias.copy_(BinaryUnits.means(v).logit())
        self.negative.fill(v)


class DeepBeliefNet(GenerativeModel):
    """p(v, h_1, ..., h_L) = p(v | h_1) ... p(h_{L-2} | h_{L-1}) p(h_{L-1}, h_L), the last a restricted machine.

    Hinton, Osindero & Teh, 2006, Neural Computation 18. Stages: every level learns as a restricted machine on what the
    one below infers; then all learn together by the up-down algorithm: with recognition weights of their own, the way
    up teaches the way down and back, and the top goes on with its chains. Last, log Z of the top is estimated and kept.

    `log_prob_bound` is E_q[log p(v, h) - log q(h | v)] with h_L summed out, tighter with k draws; its log Z is exact
    where the top has a layer of at most 20 units, else estimated, which makes it optimistic by what `log_partition`
    says. Grey levels are taken as probabilities of bits; of these there is no likelihood. `energy` is minus the bound
    with eight draws, less log Z. widths: of the hidden layers, two at least.
    """

    data_mean: Tensor
    compilable = False
    withdrawn = frozenset({"score"})

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        *,
        chains: int = 100,
        low: float = 0.0,
        grey: bool = False,
        sweeps: int = 1,
        updates: int = 10,
        together: float = 1.0,
        optimizer: OptimizerFactory = sgd(0.1),
        gentle: OptimizerFactory = sgd(0.02),
        batch: int = 64,
    ):
        super().__init__()
        self.binary, self.grey, self.mass = BinaryUnits(tuple(shape), low), grey, not grey
        self.sweeps, self.updates, self.together = sweeps, updates, together
        self.optimizer, self.gentle, self.batch = optimizer, gentle, batch
        sizes = [self.binary.size, *widths]
        self.levels = nn.ModuleList(
            Level(below, above, chains, grey=grey and place == 0)
            for place, (below, above) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.recognition = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes[:-2], sizes[1:-1], strict=True))
        self.register_buffer("data_mean", torch.full((self.binary.size,), 0.5))
        self.normaliser = KeptEstimate()
        if grey:
            self.withdrawn |= {"log_prob_bound"}

    @property
    def stack(self) -> list[Level]:
        """The levels, from the visible one upwards."""
        return cast("list[Level]", list(self.levels))

    @property
    def links(self) -> list[nn.Linear]:
        """The ways up of all levels but the topmost: log-odds of q(above | below)."""
        return cast("list[nn.Linear]", list(self.recognition))

    @property
    def top(self) -> Restricted:
        """The undirected machine of the two topmost layers."""
        return self.stack[-1].machine

    # -- learning ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        greedy = [
            Stage(f"level {place + 1}", partial(self._alone, place), enter=partial(self._begin, place))
            for place in range(len(self.stack))
        ]
        fine = Stage("up-down", self.players, share=self.together)
        last = Stage("normalise", lambda: [], enter=self._normalise)
        return [*greedy, *([fine] if self.together else []), last]

    def players(self) -> Iterable[Player]:
        return [Player("stack", self, self.loss, steps=self.updates, optimizer=self.gentle)]

    def _alone(self, place: int) -> Iterable[Player]:
        return [Player(f"level{place + 1}", self.stack[place], partial(self._level_loss, place), steps=self.updates)]

    def _begin(self, place: int, data: Data) -> None:
        batch = data.batch(0, min(len(data), INITIAL), 0)
        v = self.binary.of(batch.x.to(self.data_mean.device))
        if place == 0:
            self.normaliser.forget()
            self.data_mean.copy_(BinaryUnits.means(v))
        else:
            self._untie(place - 1)
        self.stack[place].begin(self._infer(v, place), self.stack[place - 1] if place else None)

    @torch.no_grad()
    def _untie(self, place: int) -> None:
        """A level that is trained gives its weights to the way up."""
        level, link = self.stack[place], self.links[place]
        link.weight.copy_(level.weight.T)
        link.bias.copy_(level.above_bias)

    def _normalise(self, data: Data) -> None:
        if not self.grey:
            self.normaliser.keep(self.log_partition())

    @torch.no_grad()
    def _infer(self, v: Tensor, place: int) -> Tensor:
        """States of layer `place`, drawn upwards from v."""
        return [v, *self._propose(v, TorchChance())][place]

    def _level_loss(self, place: int, batch: Batch) -> Terms:
        return {"gap": self.stack[place].gap(self._infer(self.binary.of(batch.x), place), self.sweeps)}

    def loss(self, batch: Batch) -> Terms:
        """The three parts of the up-down algorithm, in nats."""
        states = [self.binary.of(batch.x)]
        with torch.no_grad():
            states += self._propose(states[0], TorchChance())
        wake = [_nats(level.downward(h), x) for level, x, h in zip(self.stack, states[:-1], states[1:], strict=False)]
        gap = self.stack[-1].gap(states[-1], self.sweeps)
        with torch.no_grad():
            dreams = [self.stack[-1].negative.chains]
            for level in reversed(self.stack[:-1]):
                means = level.downward(dreams[-1]).sigmoid()
                dreams.append(means if level.grey else TorchChance().bernoulli(means))
        dreams.reverse()
        sleep = [_nats(link(x), h) for link, x, h in zip(self.links, dreams[:-1], dreams[1:], strict=True)]
        return {"wake": torch.stack(wake).sum(), "gap": gap, "sleep": torch.stack(sleep).sum()}

    def validate(self, batch: Batch) -> Terms:
        """None: the bound needs log Z, which is estimated once, at the end."""
        return {}

    # -- likelihood ----------------------------------------------------------------------------------------------

    def _propose(self, v: Tensor, chance: Chance) -> list[Tensor]:
        """h_1, ..., h_{L-1} drawn upwards."""
        states = [v]
        for link in self.links:
            states.append(chance.bernoulli(link(states[-1]).sigmoid()))
        return states[1:]

    def _log_weight(self, v: Tensor, hidden: list[Tensor]) -> Tensor:
        """[B] log p(v, h) - log q(h | v), h_L summed out and log Z left out."""
        states = [v, *hidden]
        total = -self.top.free_energy(states[-1])
        for level, link, below, above in zip(self.stack, self.links, states[:-1], states[1:], strict=False):
            total = total + _log_mass(level.downward(above), below) - _log_mass(link(below), above)
        return total

    def _average(self, x: Tensor, k: int, seed: int) -> Tensor:
        """[B] log of the mean weight of k draws."""
        v = self.binary.of(x)
        with whole_precision(v):
            noise = Noise(seed, len(x), device=x.device)
            weights = [self._log_weight(v, self._propose(v, noise)) for _ in range(k)]
            return torch.stack(weights).logsumexp(dim=0) - torch.tensor(float(k)).log().to(v)

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        if self.grey:
            raise self._lacks("log_prob_bound")
        return self._average(x, k, seed) - self.normaliser.interval(self.log_partition)[0]

    def energy(self, x: Tensor) -> Tensor:
        return -self._average(x, ENERGY_DRAWS, 0)

    def estimated_log_partition(self, *, seed: int = 0) -> tuple[float, float, float] | None:
        exact = self.grey or self.top.smaller <= ENUMERABLE
        return None if exact else self.normaliser.interval(self.log_partition)

    @torch.no_grad()
    def log_partition(self, *, chains: int = 100, temperatures: int = 1000, seed: int = 0) -> LogEstimate:
        """log Z of the top machine, summed where it has a layer of at most 20 units, else by AIS."""
        if self.top.smaller <= ENUMERABLE:
            return LogEstimate.known(float(self.top.log_partition()))
        return self.top.annealed(self.stack[-1].below_bias, chains, temperatures, seed)

    # -- what else it can do -------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, H_L] means of the topmost layer, upwards through means."""
        h = self.binary.of(x)
        for link in self.links:
            h = link(h).sigmoid()
        return self.stack[-1].upward(h)

    def decode(self, z: Tensor) -> Tensor:
        for level in reversed(self.stack):
            z = level.downward(z).sigmoid()
        return self.binary.example(z)

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        sweeps: Annotated[int, 0, 10_000_000] = 1000,
        mode: Mode = "auto",
    ) -> Tensor:
        """The top machine's chain after `sweeps` Gibbs sweeps from independent units, and one pass down.

        mode: `mean` shows E[v | h_1], `draw` a visible state; `auto` means the former for grey levels.
        """
        top = self.stack[-1]
        h = noise.bernoulli(top.below_bias.sigmoid().expand(len(noise), -1))
        h = run_chain(top.sweep, h, sweeps, noise)
        return self.binary.example(self._down(h, mode, noise))

    def _down(self, h: Tensor, mode: Mode, noise: Noise) -> Tensor:
        """Visible units below a state of layer L - 1."""
        for level in reversed(self.stack[1:-1]):
            h = noise.bernoulli(level.downward(h).sigmoid())
        means = self.stack[0].downward(h).sigmoid()
        return means if mode == "mean" or (mode == "auto" and self.grey) else noise.bernoulli(means)

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, sweeps: int = 200) -> Tensor:
        """Metropolis-within-Gibbs: hidden states are proposed upwards and taken or not, then the gaps are drawn anew.

        Mattei & Frellsen, 2018, arXiv:1802.04826: the acceptance makes up for what the way up gets wrong,
        so the chain has p(gaps | known) as its limit.
        """
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        known, seen = mask.flatten(1), self.binary.of(x)
        v = torch.where(known, seen, noise.bernoulli(self.data_mean.expand(len(x), -1)))
        hidden = self._propose(v, noise)
        means = v
        for _ in range(sweeps):
            proposed = self._propose(v, noise)
            gain = self._log_weight(v, proposed) - self._log_weight(v, hidden)
            taken = noise.bernoulli(gain.clamp(max=0).exp()[:, None]).bool()
            hidden = [torch.where(taken, new, old) for new, old in zip(proposed, hidden, strict=True)]
            means = self.stack[0].downward(hidden[0]).sigmoid()
            v = torch.where(known, seen, noise.bernoulli(means))
        return torch.where(mask, x, self.binary.example(means if self.grey else v))


def _log_mass(logits: Tensor, bits: Tensor) -> Tensor:
    """[B] log-probability of bits [B, D] (or minus the cross-entropy of probabilities)."""
    return (bits * logits + logsigmoid(-logits)).sum(dim=1)


def _nats(logits: Tensor, bits: Tensor) -> Tensor:
    """Minus the mean of `_log_mass`."""
    return binary_cross_entropy_with_logits(logits, bits, reduction="sum") / len(bits)
