"""Hidden Markov models of series."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Noise, check_mask
from exnihilo.models.classical.emissions import Emission
from exnihilo.models.classical.family import Classical
from exnihilo.probability import markov

RESTARTS, TRIAL = 4, 15  # beginnings, and the iterations after which the best of them goes on


class HMM(Classical):
    """p(x) = sum over paths s of  p(s_1) p(x_1 | s_1) prod_t p(s_t | s_{t-1}) p(x_t | s_t)  over series [C, T].

    Baum et al., 1970, Annals of Mathematical Statistics 41. Densities, conditionals and samples are exact; the
    likelihood is climbed by expectation-maximisation from several beginnings, the best of which may still be a local
    maximum. States come in no order.
    """

    limit = 5000  # series
    log_start: Tensor
    log_transition: Tensor

    def __init__(self, states: int, emission: Emission, iterations: int = 100):
        super().__init__()
        self.emission, self.iterations = emission, iterations
        self.mass = emission.mass
        uniform = torch.full((states,), 1 / states, dtype=torch.float64).log()
        self.register_buffer("log_start", uniform)
        self.register_buffer("log_transition", uniform.repeat(states, 1))

    # -- fitting -------------------------------------------------------------------------------------------------

    def solve(self, x: Tensor) -> None:
        """Baum and Welch's algorithm: some short climbs, the best of them to the end."""
        frames = self.frames(x.to(self.log_start.device))
        trials = []
        for _ in range(RESTARTS):
            self._begin(frames)
            trials.append((self.climb(frames, min(TRIAL, self.iterations)), self._copies()))
        best = max(trials, key=lambda trial: trial[0])[1]
        for name, buffer in self.named_buffers():
            buffer.copy_(best[name])
        self.climb(frames, self.iterations - TRIAL)

    def _begin(self, frames: Tensor) -> None:
        """States that change at random, emissions as they choose."""
        self.log_start.copy_(torch.full_like(self.log_start, 1 / len(self.log_start)).log())
        self.log_transition.copy_(torch.empty_like(self.log_transition).exponential_().add(1).log().log_softmax(dim=1))
        self.emission.start(frames)

    def _copies(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def climb(self, frames: Tensor, iterations: int) -> float:
        """The mean log p(x) before the last of some iterations of expectation-maximisation, each of which raises it.

        Ends early where an iteration gains less than 1e-6 of it.
        """
        before = -torch.inf
        for _ in range(iterations):
            log_p, shares, moves = markov.smooth(self.log_start, self.log_transition, self.emission.log_prob(frames))
            self.emission.update(frames, shares)
            first = shares[:, 0].sum(dim=0) + 1e-10
            self.log_start.copy_((first / first.sum()).log())
            moves = moves + 1e-10
            self.log_transition.copy_((moves / moves.sum(dim=1, keepdim=True)).log())
            now = float(log_p.mean())
            if now - before < 1e-6 * abs(now):
                return now
            before = now
        return before

    # -- capabilities --------------------------------------------------------------------------------------------

    def frames(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, T, C] in double precision."""
        return x.double().mT

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] exact log-density, or of levels log-probability, in nats, by the forward algorithm."""
        filtered = markov.forward(self.log_start, self.log_transition, self.emission.log_prob(self.frames(x)))
        return filtered[:, -1].logsumexp(dim=1).to(x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """[B, T, states] p(s_t | x): where the series is likely to have been, given all of it."""
        emission = self.emission.log_prob(self.frames(x))
        before = markov.forward(self.log_start, self.log_transition, emission)
        after = markov.backward(self.log_transition, emission)
        return (before + after).softmax(dim=2).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """[B, C, T] the expected frames under shares of the states [B, T, states]."""
        return self.emission.mean(z.double()).mT.to(z.dtype)

    def path(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest states [B, T] and log p(states, x) [B] (Viterbi, 1967)."""
        return markov.viterbi(self.log_start, self.log_transition, self.emission.log_prob(self.frames(x)))

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), C, T]: a path of states, then what it shows."""
        time = self.spec.shape[1]
        unseen = self.log_start.new_zeros(len(noise), time, len(self.log_start))
        return self._shown(unseen, noise).mT.float()

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn from their exact conditional distribution given the others."""
        check_mask(x, mask)
        seen = self.emission.log_prob(self.frames(x), mask.mT)
        filled = self._shown(seen, Noise(seed, len(x), device=x.device))
        return torch.where(mask, x, filled.mT.to(x.dtype))

    def _shown(self, log_emission: Tensor, noise: Noise) -> Tensor:
        uniform = noise.uniform(log_emission.shape[1], dtype=torch.float64)
        state = markov.draw_path(self.log_start, self.log_transition, log_emission, uniform)
        return self.emission.draw(state, noise)
