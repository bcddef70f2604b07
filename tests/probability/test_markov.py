"""Hidden chains against sums over all paths, and the golden values of the card (G9)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from exnihilo.core import Noise
from exnihilo.probability import markov

A = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]], dtype=torch.float64)
START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
B = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]], dtype=torch.float64)
SEEN = [0, 1, 1, 0, 1]
EMISSION = B[:, SEEN].T.log()[None]  # [1, T, S]
GIVEN = (START.log(), A.log(), EMISSION)


def paths() -> tuple[torch.Tensor, torch.Tensor]:
    """All 3^5 paths and log p(path, x)."""
    every = torch.tensor(list(itertools.product(range(3), repeat=5)))
    log_p = START.log()[every[:, 0]] + EMISSION[0, torch.arange(5), every].sum(dim=1)
    return every, log_p + A.log()[every[:, :-1], every[:, 1:]].sum(dim=1)


def test_golden_values():
    assert markov.forward(*GIVEN)[0, -1].logsumexp(dim=0).item() == pytest.approx(-3.67755324, abs=1e-8)
    path, log_p = markov.viterbi(*GIVEN)
    assert path.tolist() == [[0, 1, 1, 1, 1]]
    assert log_p.item() == pytest.approx(-6.50697312, abs=1e-8)
    expected = torch.tensor([5 / 14, 5 / 14, 2 / 7], dtype=torch.float64)
    torch.testing.assert_close(markov.stationary(A), expected, atol=1e-12, rtol=0)
    assert markov.entropy_rate(A).item() == pytest.approx(0.90412175, abs=1e-8)


def test_smoothing_equals_the_sum_over_all_paths():
    every, log_p = paths()
    total, shares, moves = markov.smooth(*GIVEN)
    torch.testing.assert_close(total[0], log_p.logsumexp(dim=0), atol=1e-10, rtol=0)
    weight = log_p.softmax(dim=0)
    one_hot = torch.nn.functional.one_hot(every, 3).double()  # [paths, T, S]
    torch.testing.assert_close(shares[0], torch.einsum("p,pts->ts", weight, one_hot), atol=1e-10, rtol=0)
    expected = torch.einsum("p,pti,ptj->ij", weight, one_hot[:, :-1], one_hot[:, 1:])
    torch.testing.assert_close(moves, expected, atol=1e-10, rtol=0)


def test_paths_are_drawn_from_their_exact_distribution():
    every, log_p = paths()
    n = 20_000
    uniform = Noise(0, n).uniform(5, dtype=torch.float64)
    drawn = markov.draw_path(START.log(), A.log(), EMISSION.expand(n, -1, -1), uniform)
    place = (drawn * 3 ** torch.arange(4, -1, -1)).sum(dim=1)
    frequency = place.bincount(minlength=243) / n
    p = log_p.softmax(dim=0)
    assert (frequency - p).abs().sum() / 2 < 3 * math.sqrt(243 / (2 * math.pi * n))
    again = (p * (1 - p) / n).sqrt()
    assert ((frequency - p).abs() < 5 * again + 1e-4).all()
    assert (every[place.mode().values] == every[log_p.argmax()]).all()


def test_where_nothing_is_seen_the_chain_itself_is_drawn():
    n = 20_000
    unseen = torch.zeros(n, 4, 3, dtype=torch.float64)
    path = markov.draw_path(START.log(), A.log(), unseen, Noise(1, n).uniform(4, dtype=torch.float64))
    last = torch.bincount(path[:, 3], minlength=3) / n
    torch.testing.assert_close(last.double(), START @ A @ A @ A, atol=0.015, rtol=0)
