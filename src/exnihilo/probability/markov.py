"""Markov chains behind a veil: exact sums over all paths of a few states, in logarithms.

log_start [S] and log_transition [S, S] (from, to) are log-probabilities; log_emission [B, T, S] = log p(x_t | s_t), 0
where nothing was seen. Rabiner, 1989, Proc. IEEE 77, Eq. 19-40. All costs are B T S^2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forward(log_start: Tensor, log_transition: Tensor, log_emission: Tensor) -> Tensor:
    """[B, T, S] log p(x_1 ... x_t, s_t); its last step summed over the states is log p(x)."""
    steps = [log_start + log_emission[:, 0]]
    for emission in log_emission.unbind(dim=1)[1:]:
        steps.append((steps[-1][:, :, None] + log_transition).logsumexp(dim=1) + emission)
    return torch.stack(steps, dim=1)


def backward(log_transition: Tensor, log_emission: Tensor) -> Tensor:
    """[B, T, S] log p(x_{t+1} ... x_T | s_t)."""
    steps = [torch.zeros_like(log_emission[:, 0])]
    for emission in reversed(log_emission.unbind(dim=1)[1:]):
        steps.append((log_transition + (emission + steps[-1])[:, None]).logsumexp(dim=2))
    return torch.stack(steps[::-1], dim=1)


def smooth(log_start: Tensor, log_transition: Tensor, log_emission: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What Baum and Welch count: log p(x) [B], p(s_t | x) [B, T, S], and expected transitions of all rows [S, S]."""
    before, after = forward(log_start, log_transition, log_emission), backward(log_transition, log_emission)
    log_p = before[:, -1].logsumexp(dim=1)
    shares = (before + after - log_p[:, None, None]).exp()
    moves = torch.zeros_like(log_transition)
    for t in range(1, log_emission.shape[1]):
        arrive = log_emission[:, t] + after[:, t] - log_p[:, None]
        moves = moves + (before[:, t - 1, :, None] + log_transition + arrive[:, None]).exp().sum(dim=0)
    return log_p, shares, moves


def viterbi(log_start: Tensor, log_transition: Tensor, log_emission: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest path [B, T] and its log p(path, x) [B] (Viterbi, 1967)."""
    best, origins = log_start + log_emission[:, 0], []
    for emission in log_emission.unbind(dim=1)[1:]:
        value, origin = (best[:, :, None] + log_transition).max(dim=1)
        best = value + emission
        origins.append(origin)
    log_p, state = best.max(dim=1)
    path = [state]
    for origin in reversed(origins):
        path.append(origin.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1), log_p


def draw_path(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, uniform: Tensor) -> Tensor:
    """[B, T] a path from p(path | x): filtered forwards, drawn backwards; uniform [B, T] in [0, 1).

    Chib, 1996, Journal of Econometrics 75. With log_emission 0 it is a path of the chain itself.
    """
    before = forward(log_start, log_transition, log_emission)
    path = [pick(before[:, -1], uniform[:, -1])]
    for t in range(before.shape[1] - 2, -1, -1):
        path.append(pick(before[:, t] + log_transition[:, path[-1]].T, uniform[:, t]))
    return torch.stack(path[::-1], dim=1)


def stationary(transition: Tensor) -> Tensor:
    """[S] the distribution that the transitions [S, S] leave as it is, of a chain that reaches all its states."""
    size = len(transition)
    equations = torch.cat([transition.T - torch.eye(size).to(transition), transition.new_ones(1, size)])
    right = torch.cat([transition.new_zeros(size), transition.new_ones(1)])
    return torch.linalg.lstsq(equations, right[:, None]).solution[:, 0]


def entropy_rate(transition: Tensor) -> Tensor:
    """[] -sum_i pi_i sum_j A_ij log A_ij in nats a step: no model of the chain can do with less."""
    return -(stationary(transition) @ torch.xlogy(transition, transition).sum(dim=1))


def pick(logits: Tensor, uniform: Tensor) -> Tensor:
    """[...] an index drawn from unnormalised log-probabilities [..., S] by inversion of uniform numbers [...]."""
    heap = logits.softmax(dim=-1).cumsum(dim=-1)
    index = (uniform[..., None] * heap[..., -1:] >= heap).sum(dim=-1)
    return index.clamp(max=logits.shape[-1] - 1)
