"""What a hidden state lets be seen: the conditional distributions of a hidden Markov model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from exnihilo.core import Noise
from exnihilo.probability.distributions import normal_log_prob

FLOOR = 1e-4  # of a state's variance, in units of the data's


class Emission(nn.Module):
    """p(frame | state), the C entries of a frame independent; frames [B, T, C], states S."""

    mass: bool = False

    def entries(self, frames: Tensor) -> Tensor:
        """[B, T, C, S] log p of every entry under every state, in nats."""
        raise NotImplementedError

    def log_prob(self, frames: Tensor, known: Tensor | None = None) -> Tensor:
        """[B, T, S] log p(frame | state), of the entries where `known` [B, T, C] is True."""
        entries = self.entries(frames)
        return (entries if known is None else torch.where(known[..., None], entries, 0.0)).sum(dim=2)

    def start(self, frames: Tensor) -> None:
        """Distributions for expectation-maximisation to begin with, by torch's generator."""
        raise NotImplementedError

    def update(self, frames: Tensor, shares: Tensor) -> None:
        """The maximum of the likelihood of frames that belong to the states by `shares` [B, T, S]."""
        raise NotImplementedError

    def mean(self, shares: Tensor) -> Tensor:
        """[B, T, C] the expected frame under shares of the states [B, T, S]."""
        raise NotImplementedError

    def draw(self, state: Tensor, noise: Noise) -> Tensor:
        """[B, T, C] a frame for every state [B, T]."""
        raise NotImplementedError


class GaussianEmission(Emission):
    """N(frame; m_s, diag v_s)."""

    means: Tensor
    variances: Tensor

    def __init__(self, states: int, channels: int):
        super().__init__()
        self.register_buffer("means", torch.zeros(states, channels, dtype=torch.float64))
        self.register_buffer("variances", torch.ones(states, channels, dtype=torch.float64))

    def entries(self, frames: Tensor) -> Tensor:
        return normal_log_prob(frames[..., None], self.means.T, self.variances.T.log())

    def start(self, frames: Tensor) -> None:
        """The clusters of all frames (scikit-learn's k-means)."""
        from sklearn.cluster import KMeans as Solver

        flat = frames.flatten(0, 1)
        states = min(len(self.means), len(flat))
        solver = Solver(states, n_init=1, random_state=int(torch.randint(2**31, ()))).fit(flat.cpu().numpy())
        labels = torch.from_numpy(solver.labels_).long().to(flat.device)
        self.update(frames, one_hot(labels, len(self.means)).double().view(*frames.shape[:2], -1))

    def update(self, frames: Tensor, shares: Tensor) -> None:
        count = shares.sum(dim=(0, 1)).clamp(min=1e-10)[:, None]
        means = torch.einsum("bts,btc->sc", shares, frames) / count
        squares = torch.einsum("bts,btc->sc", shares, frames.square()) / count
        floor = FLOOR * frames.var(dim=(0, 1), correction=0).clamp(min=1e-12)
        self.means.copy_(means)
        self.variances.copy_(torch.maximum(squares - means.square(), floor))

    def mean(self, shares: Tensor) -> Tensor:
        return shares @ self.means

    def draw(self, state: Tensor, noise: Noise) -> Tensor:
        mean = self.means[state]
        return mean + self.variances[state].sqrt() * noise.like(mean)


class CategoricalEmission(Emission):
    """P(level | s) for every entry of a frame, levels low, low + step, ..."""

    mass = True
    log_table: Tensor

    def __init__(self, states: int, channels: int, levels: int, low: float, step: float):
        super().__init__()
        self.low, self.step = low, step
        uniform = torch.full((states, channels, levels), -math.log(levels), dtype=torch.float64)
        self.register_buffer("log_table", uniform)

    def index(self, frames: Tensor) -> Tensor:
        """[B, T, C] 0 ... levels - 1."""
        return ((frames - self.low) / self.step).round().clamp(0, self.log_table.shape[2] - 1).long()

    def entries(self, frames: Tensor) -> Tensor:
        each = torch.arange(frames.shape[2], device=frames.device)
        return self.log_table[:, each, self.index(frames)].movedim(0, -1)

    def start(self, frames: Tensor) -> None:
        """Tables at random, from the flat Dirichlet distribution."""
        self.log_table.copy_(torch.empty_like(self.log_table).exponential_().log().log_softmax(dim=2))

    def update(self, frames: Tensor, shares: Tensor) -> None:
        hot = one_hot(self.index(frames), self.log_table.shape[2]).double()
        counts = torch.einsum("bts,btcl->scl", shares, hot) + 1e-10
        self.log_table.copy_((counts / counts.sum(dim=2, keepdim=True)).log())

    def mean(self, shares: Tensor) -> Tensor:
        values = self.low + self.step * torch.arange(self.log_table.shape[2]).to(self.log_table)
        return shares @ (self.log_table.exp() @ values)

    def draw(self, state: Tensor, noise: Noise) -> Tensor:
        return self.low + self.step * noise.categorical(self.log_table[state]).double()
