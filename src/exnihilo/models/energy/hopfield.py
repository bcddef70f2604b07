"""Associative memories: patterns are stored in closed form, and states fall to the nearest of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Data, GenerativeModel, Noise, Player, Stage, check_mask
from exnihilo.models.energy.pairwise import Pairwise, settle
from exnihilo.models.energy.units import BinaryUnits
from exnihilo.probability.chains import run_chain

CAPACITY = 0.138  # patterns per unit that Hebb's rule can hold (Amit, Gutfreund & Sompolinsky, 1985, PRL 55)
STILL = 1e-5  # a retrieval that moves no entry further has arrived

#: Patterns of spins [P, N] -> weights [N, N].
Storage = Callable[[Tensor], Tensor]


def hebbian(patterns: Tensor) -> Tensor:
    """W = (1 / N) sum_p s_p s_p^T without its diagonal, patterns [P, N] of -1 and 1.

    Hopfield, 1982, PNAS 79. Holds up to 0.138 N patterns that have nothing in common, fewer of others.
    """
    weight = patterns.T @ patterns / patterns.shape[1]
    return weight - weight.diag().diag()


def pseudo_inverse(patterns: Tensor) -> Tensor:
    """W = S^+ S without its diagonal, patterns S [P, N]: the projection on what they span.

    Personnaz, Guyon & Dreyfus, 1986, Physical Review A 34. Up to N patterns rest, also those that resemble each other;
    states come back to them up to about N / 2.
    """
    weight = torch.linalg.pinv(patterns.double()).to(patterns) @ patterns
    return weight - weight.diag().diag()


class Hopfield(GenerativeModel):
    """E(s) = -s^T W s / 2 over spins s in {-1, 1}^N;  s_i <- sign((W s)_i) until none turns.

    Hopfield, 1982, PNAS 79. `reconstruct` falls from x to where it rests, `impute` does so with what is known held: a
    cue brings back the stored pattern. Both are without chance. Samples are of exp(-E / T), by Gibbs sampling. x is
    read as spins by its sign about the middle of its range, so grey pictures become black and white.

    Caution: rest states are not only the patterns but their negatives and mixtures of them; beyond the capacity nothing
    is retrieved at all. It stores some examples and learns nothing of their distribution.
    """

    weight: Tensor  # [N, N]
    patterns: Tensor  # [P, N]
    average = False
    withdrawn = frozenset({"score"})

    def __init__(self, shape: Sequence[int], storage: Storage, patterns: int, *, low: float = 0.0):
        super().__init__()
        self.binary, self.storage, self.count = BinaryUnits(tuple(shape), low), storage, patterns
        size = self.binary.size
        self.register_buffer("weight", torch.zeros(size, size))
        self.register_buffer("patterns", torch.zeros(patterns, size))

    def players(self) -> Iterable[Player]:
        return []

    def stages(self) -> Iterable[Stage]:
        return [Stage("store", self.players, enter=self.store)]

    def store(self, data: Data) -> None:
        """Take different examples, as many as asked for if there are, and set the weights."""
        x = data.batch(0, min(len(data), 16 * self.count), 0).x.to(self.weight.device)
        spins = self.spins(x)
        first = [row for row in range(len(spins)) if not (spins[:row] == spins[row]).all(dim=1).any()]
        self.patterns = spins[first[: self.count]]
        self.weight.copy_(self.storage(self.patterns))

    def spins(self, x: Tensor) -> Tensor:
        """[B, N] -1 and 1."""
        return torch.where(self.binary.of(x) >= 0.5, 1.0, -1.0)

    def shown(self, s: Tensor) -> Tensor:
        """The inverse of `spins`, in model space."""
        return self.binary.example((s + 1) / 2)

    @property
    def capacity(self) -> int:
        """Patterns that Hebb's rule can hold among so many units."""
        return max(1, int(CAPACITY * self.binary.size))

    def energy(self, x: Tensor) -> Tensor:
        s = self.spins(x)
        return -0.5 * ((s @ self.weight) * s).sum(dim=1)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.shown(settle(self.weight, self.spins(x)))

    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """The rest state that a cue falls to; a missing spin exerts no force until it was set once."""
        check_mask(x, mask)
        known = mask.flatten(1)
        cue = torch.where(known, self.spins(x), 0.0)
        cue = torch.where(known, cue, (cue @ self.weight).sign())  # all at once, so that their order says nothing
        s = settle(self.weight, torch.where(cue == 0, 1.0, cue), known)
        return torch.where(mask, x, self.shown(s))

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        temperature: Annotated[float, 0.0, 1000.0] = 1.0,
        sweeps: Annotated[int, 0, 1_000_000] = 50,
    ) -> Tensor:
        """The end of a chain of Gibbs sweeps of exp(-E / temperature) that begins at independent spins.

        temperature: at 1 samples are of exp(-energy), where little of the memories is left; below about 0.5 a chain
        stays near one of them, at 0 it comes to rest.
        """
        s = 2 * noise.bernoulli(torch.full((len(noise), self.binary.size), 0.5, device=noise.device)) - 1
        if temperature == 0:
            return self.shown(settle(self.weight, s))
        machine, _ = Pairwise.of_spins(self.weight / temperature, self.weight.new_zeros(self.binary.size))
        return self.binary.example(run_chain(machine.sweep(), (s + 1) / 2, sweeps, noise))


class ModernHopfield(GenerativeModel):
    """E(x) = -(1 / beta) log sum_p exp(beta s_p . x) + |x|^2 / 2 + constants;  x <- sum_p softmax_p(beta s_p . x) s_p.

    Ramsauer et al., 2021, arXiv:2008.02217: continuous states, capacity exponential in the dimension, and
    one step of retrieval is attention. `reconstruct` retrieves until nothing moves, `impute` with the known entries
    held. exp(-beta E) is a mixture of Gaussians of variance 1 / beta about the patterns, so `log_prob` and samples are
    exact, without a chain.

    similarity: with `dot` patterns weigh exp(beta |s_p|^2 / 2) in that mixture, so the longest are retrieved whatever
    the cue, unless all are of one length, as the paper's normalised ones are; `euclidean` puts s_p . x - |s_p|^2 / 2 in
    place of s_p . x, so that they weigh the same (Millidge et al., 2022, arXiv:2202.04557).
    """

    patterns: Tensor  # [P, D]
    log_weights: Tensor  # [P]
    sharpness: Tensor  # [] beta
    average = False

    def __init__(
        self,
        shape: Sequence[int],
        patterns: int,
        beta: float,
        *,
        similarity: Literal["euclidean", "dot"] = "euclidean",
    ):
        super().__init__()
        self.shape, self.count, self.beta, self.similarity = tuple(shape), patterns, beta, similarity
        self.register_buffer("patterns", torch.zeros(patterns, math.prod(shape)))
        self.register_buffer("log_weights", torch.full((patterns,), -math.log(patterns)))
        self.register_buffer("sharpness", torch.tensor(beta or 1.0))

    def players(self) -> Iterable[Player]:
        return []

    def stages(self) -> Iterable[Stage]:
        return [Stage("store", self.players, enter=self.store)]

    def store(self, data: Data) -> None:
        """Take examples, and set beta to one over Scott's squared bandwidth of so many of them unless it is given."""
        self.remember(data.batch(0, min(len(data), self.count), 0).x.to(self.patterns.device))

    def remember(self, x: Tensor) -> None:
        """Store patterns [P, *shape]."""
        self.patterns = x.flatten(1)
        count, size = self.patterns.shape
        if not self.beta:
            variance = self.patterns.var(dim=0, correction=0).mean().clamp_min(1e-6)
            self.sharpness.copy_(count ** (2 / (size + 4)) / variance)
        favour = self._half_squares() if self.similarity == "dot" else torch.zeros_like(self.patterns[:, 0])
        self.log_weights = favour.log_softmax(dim=0)

    def attention(self, x: Tensor) -> Tensor:
        """[B, P] softmax(beta s_p . x), flat x [B, D]: how probable it is that x came from each pattern."""
        return self._logits(x).softmax(dim=1)

    def _logits(self, x: Tensor) -> Tensor:
        return self.sharpness * x @ self.patterns.T - self._half_squares() + self.log_weights

    def _half_squares(self) -> Tensor:
        """[P] beta |s_p|^2 / 2."""
        return 0.5 * self.sharpness * self.patterns.square().sum(dim=1)

    def retrieve(self, x: Tensor, mask: Tensor | None = None, *, steps: int = 100) -> Tensor:
        """Flat x [B, D] after so many steps or once nothing moves; entries where mask is True are held."""
        for _ in range(steps):
            moved = self.attention(x) @ self.patterns
            moved = moved if mask is None else torch.where(mask, x, moved)
            if float((moved - x).abs().max()) < STILL:
                return moved
            x = moved
        return x

    def stored(self) -> float:
        """The share of patterns at which a retrieval that starts there rests, nearer to it than to any other."""
        ends = torch.cat([self.retrieve(part) for part in self.patterns.split(self.chunk)])
        nearest = torch.cdist(ends, self.patterns).argmin(dim=1)
        return float((self.patterns[nearest] == self.patterns).all(dim=1).float().mean())

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        x = x.flatten(1)
        squares = 0.5 * self.sharpness * x.square().sum(dim=1)
        constant = 0.5 * x.shape[1] * (self.sharpness / (2 * math.pi)).log()
        return self._logits(x).logsumexp(dim=1) - squares + constant

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.retrieve(x.flatten(1)).view(x.shape)

    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """Retrieval from a cue: the missing entries begin at their mean given the known ones."""
        check_mask(x, mask)
        known, cue = mask.flatten(1), x.flatten(1)
        apart = torch.where(known, 0.5 * self.sharpness, 0.0) @ self.patterns.square().T  # of the known entries alone
        near = self.sharpness * torch.where(known, cue, 0.0) @ self.patterns.T - apart + self.log_weights
        start = torch.where(known, cue, near.softmax(dim=1) @ self.patterns)
        return torch.where(mask, x, self.retrieve(start, known).view(x.shape))

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        chosen = noise.categorical(self.log_weights.expand(len(noise), -1))
        x = self.patterns[chosen] + noise.like(self.patterns[chosen]) / self.sharpness.sqrt()
        return x.view(len(noise), *self.shape)
