"""Energies that are networks, taught by Langevin chains whose ends are kept and go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from exnihilo.core import NOTHING, Batch, Conditions, Noise, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.energy.family import EnergyModel
from exnihilo.models.energy.negatives import Negative
from exnihilo.models.energy.scores import denoising
from exnihilo.models.gans.classes import class_cost
from exnihilo.probability.chains import (
    Chance,
    Kernel,
    LogEstimate,
    annealed_importance,
    log_mean_exp,
    run_chain,
)
from exnihilo.probability.kernels import HMC, Energy, score_of

GRID = 400  # places per side of the grid that sums a density of at most two entries
REACH = 8.0  # standard deviations to the end of the grid
NARROWEST = 0.01  # noise of the validation, where training adds none

#: The chain that (nearly) leaves exp(-energy) as it is.
Dynamics = Callable[[Energy], Kernel]


class Replay(Negative):
    """A buffer of chains that go on where they stopped; a share of those taken up is begun afresh, at N(0, I).

    Du & Mordatch, 2019, arXiv:1903.08689. They take chains at random, here each has its turn, so none is
    left behind for long. A chain lives for 1 / fresh turns on average. Only a resume needs the buffer, so it is not
    among the shared weights.
    """

    chains: Tensor
    place: Tensor

    def __init__(self, chains: int, size: int, fresh: float = 0.05):
        super().__init__()
        self.fresh = fresh
        self.register_buffer("chains", torch.zeros(chains, size), persistent=False)
        self.register_buffer("place", torch.zeros((), dtype=torch.int64), persistent=False)

    def rows(self, n: int) -> Tensor:
        """[n] whose turn it is."""
        return (self.place + torch.arange(n, device=self.place.device)) % len(self.chains)

    def fill(self, examples: Tensor) -> None:
        self.chains.normal_()

    def start(self, positive: Tensor) -> Tensor:
        old = self.chains[self.rows(len(positive))]
        begun = torch.rand(len(old), 1, device=old.device) < self.fresh
        return torch.where(begun, torch.randn_like(old), old)

    def keep(self, negative: Tensor) -> None:
        self.chains[self.rows(len(negative))] = negative
        self.place.add_(len(negative)).remainder_(len(self.chains))


class DeepEnergyModel(EnergyModel):
    """p(x) = exp(-f(x)) N(x; m, diag s^2) / Z: a network f bends the Gaussian of the data's means and scales.

    Xie et al., 2016, arXiv:1602.03264; Du & Mordatch, 2019, arXiv:1903.08689. The Gaussian lets Z exist (a network of
    smooth activations grows no faster than a straight line), tells the chains their units and where they begin. They
    move u = (x - m) / s by `steps` of `dynamics` in every update. network: [B, *shape] -> f [B, 1]; size: weight of the
    mean of f^2 over data and samples, which keeps f near 0; noise: standard deviation of what is added to the data's u,
    so that the density has nothing narrower, over which chains would step (Nijkamp et al., 2020, arXiv:1903.12370).
    There is no `log_prob`, because Z is unknown; `log_partition` estimates it. Caution: samples are short-run, chains
    from noise that are like the data only if they run about as long as those of the training live. Longer ones drift
    away: on digits, after 1,200 rounds, the Frechet distance of samples to the validation split is 2.0 times that of
    training examples with one mean life of steps, 2.7 times with two and 7.9 times with eight.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        replay: Replay,
        *,
        dynamics: Dynamics,
        steps: int = 40,
        size: float = 1e-3,
        noise: float = 0.05,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__(replay, sweeps=steps, optimizer=optimizer, batch=batch)
        self.network, self.shape, self.dynamics = network, tuple(shape), dynamics
        self.size, self.noise = size, noise
        self.lifetime = round(steps / max(replay.fresh, 0.01))
        self.register_buffer("mean", torch.zeros(math.prod(shape)))
        self.register_buffer("scale", torch.ones(math.prod(shape)))

    # -- what the chains move ------------------------------------------------------------------------------------

    def to_state(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) / self.scale

    def from_state(self, state: Tensor) -> Tensor:
        return (state * self.scale + self.mean).view(len(state), *self.shape)

    def bend(self, state: Tensor) -> Tensor:
        """[B] f of a state."""
        return self.network(self.from_state(state))[:, 0]

    def state_energy(self, state: Tensor) -> Tensor:
        return self.bend(state) + 0.5 * state.square().sum(dim=1)

    def kernel(self, state: Tensor, chance: Chance) -> Tensor:
        return self.dynamics(self.state_energy)(state, chance)

    # -- learning ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def settle(self, x: Tensor) -> None:
        """The Gaussian's means and scales are those of the data."""
        x = x.flatten(1)
        self.mean.copy_(x.mean(dim=0))
        self.scale.copy_(x.std(dim=0, correction=0).clamp(min=1e-3))

    def loss(self, batch: Batch) -> Terms:
        state = self.to_state(self.examples(batch.x))
        positive = state + self.noise * torch.randn_like(state)
        with cached():  # weights that are normalised are so once for all steps of the chains
            negative = self.negatives(positive)
            terms = {"gap": self.gap(positive, negative)}
            if self.size:
                both = self.bend(torch.cat([positive, negative]))
                terms["size"] = self.size * both.square().mean()
            return terms | self.further(positive, batch)

    def further(self, positive: Tensor, batch: Batch) -> Terms:
        """Other terms of the loss."""
        return {}

    def validate(self, batch: Batch) -> Terms:
        """E|sigma score(u + sigma e) + e|^2 / 2 with sigma = `noise`: how well slopes point back from noise to data.

        Up to a constant it is sigma^2 times the Fisher divergence of the blurred data from the model, where there are
        data (Vincent, 2011); it needs neither Z nor chains. Caution: it is blind to what the model believes elsewhere.
        The gap would be of no use: it is near 0 for good and bad energies alike.
        """
        u = self.to_state(self.examples(batch.x))
        sigma = max(self.noise, NARROWEST)
        with cached():
            loss = denoising(score_of(self.state_energy), u, torch.randn_like(u), u.new_full((len(u),), sigma))
        return {"denoising": sigma**2 * loss.mean()}

    # -- what it can do ------------------------------------------------------------------------------------------

    def draw(
        self, noise: Noise, asked: Conditions = NOTHING, *, steps: Annotated[int, 0, 1_000_000] | None = None
    ) -> Tensor:
        """The end of a chain of so many steps from the Gaussian of the data's means and scales.

        steps=none: as many as a chain of the training lives on average.
        """
        start = noise.normal(len(self.mean))
        with cached():
            kernel = self.dynamics(self.asked_energy(asked))
            return self.from_state(run_chain(kernel, start, self.lifetime if steps is None else steps, noise))

    def asked_energy(self, asked: Conditions) -> Energy:
        """The energy of states of what is asked."""
        return self.state_energy

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0, steps: int | None = None) -> Tensor:
        """The chain of the unknown entries given the known ones (mask True = known), from the Gaussian on."""
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        state, known = self.to_state(x), mask.flatten(1)

        def given(u: Tensor) -> Tensor:
            return self.state_energy(torch.where(known, state, u))

        with cached():
            kernel = self.dynamics(given)
            ends = run_chain(kernel, noise.like(state), self.lifetime if steps is None else steps, noise)
        return torch.where(mask, x, self.from_state(ends))

    @torch.no_grad()
    def log_partition(
        self,
        method: Literal["auto", "grid", "ais"] = "auto",
        *,
        chains: int = 200,
        temperatures: int = 500,
        step: float = 0.1,
        seed: int = 0,
    ) -> LogEstimate:
        """log of the integral of exp(-energy(x)) over x, in nats, so that log p(x) = -energy(x) - log_partition.

        By a grid for at most two entries, else by annealed importance sampling from the Gaussian to the model with a
        transition of five leaps of Hamiltonian Monte Carlo of length `step` (Neal, 2001). Beyond a few dozen entries
        it takes many temperatures; it is too low, and a likelihood then too good, while they are too few.
        """
        size = len(self.mean)
        stretch = float(self.scale.double().log().sum())
        with cached():
            if method == "grid" or (method == "auto" and size <= 2):
                value = self._summed() + stretch
                return LogEstimate(value, value, value, math.inf)
            noise = Noise(seed, chains, device=self.mean.device)
            weights = annealed_importance(
                lambda t, u: -self._tempered(t)(u),
                lambda t, u, chance: HMC(self._tempered(t), step, leaps=5)(u, chance),
                noise.normal(size),
                torch.linspace(0, 1, temperatures + 1),
                noise,
            )
        return log_mean_exp(weights + 0.5 * size * math.log(2 * math.pi) + stretch)

    def _tempered(self, t: float) -> Energy:
        """From the Gaussian (t = 0) to the model (t = 1)."""
        return lambda u: 0.5 * u.square().sum(dim=1) + t * self.bend(u)

    def _summed(self) -> float:
        """log Z of states, on a grid."""
        size = len(self.mean)
        line = torch.linspace(-REACH, REACH, GRID, device=self.mean.device)
        places = torch.cartesian_prod(*[line] * size).view(-1, size)
        logs = torch.cat([-self.state_energy(part) for part in places.split(1 << 14)])
        return float(logs.double().logsumexp(dim=0)) + size * math.log(2 * REACH / (GRID - 1))


class JointEnergyModel(DeepEnergyModel):
    """p(x, y) = exp(f_y(x)) N(x; m, diag s^2) / Z: the logits of a classifier are minus energies.

    log p(x, y) = log p(x) + log p(y | x), with f = -log sum_y exp f_y in p(x) and p(y | x) = softmax f_y: the loss is
    that of an energy model, and the cross-entropy of known labels. Grathwohl et al., 2020, arXiv:1912.03263.
    network: [B, *shape] -> logits [B, classes]. Caution: samples of no class in particular are asked for by the
    classes' shares in the data, which are not quite those of the density that was learned.
    """

    labelled = True

    def logits(self, state: Tensor) -> Tensor:
        """[B, classes] f_y of a state."""
        return self.network(self.from_state(state))

    def bend(self, state: Tensor) -> Tensor:
        return -self.logits(state).logsumexp(dim=1)

    def further(self, positive: Tensor, batch: Batch) -> Terms:
        return {"classes": class_cost(self.logits(positive), batch.label)}

    def asked_energy(self, asked: Conditions) -> Energy:
        """-log p(x, y) of the classes asked for, up to a constant; of unknown ones (-1) -log p(x)."""
        label = asked.label
        if label is None:
            return self.state_energy

        def energy(state: Tensor) -> Tensor:
            logits = self.logits(state)
            chosen = logits.gather(1, label.clamp(min=0)[:, None])[:, 0]
            bend = torch.where(label < 0, logits.logsumexp(dim=1), chosen)
            return 0.5 * state.square().sum(dim=1) - bend

        return energy

    def validate(self, batch: Batch) -> Terms:
        """As of any deep energy, and the cross-entropy of the classes in nats."""
        with cached():
            classes = class_cost(self.logits(self.to_state(self.examples(batch.x))), batch.label)
        return super().validate(batch) | {"classes": classes}

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(class | x)."""
        return self.logits(self.to_state(x)).log_softmax(dim=1)
