"""Models of order n: they are distributions, and what they say follows from counts."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from exnihilo.core import DataSpec
from exnihilo.data import load_data
from exnihilo.data.texts import text_dataset
from exnihilo.evaluation.ngrams import NGram, count_grams, runs_of


def spec_of(size: int, levels: int = 3) -> DataSpec:
    return DataSpec("text", (size,), levels, vocabulary=tuple("abcdefgh"[:levels]), tokens="characters")


@pytest.fixture(scope="module")
def runs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 3, (length,), generator=generator) for length in (40, 3, 25)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_all_texts_together_have_probability_one(order, runs):
    model = NGram(spec_of(4), runs, order)
    every = torch.tensor(list(product(range(3), repeat=4)))
    assert float(model.log_prob(every).exp().sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(NGram(spec_of(4), [torch.zeros(9, dtype=torch.int64)], order).log_prob(every).exp().sum()) == (
        pytest.approx(1.0, abs=1e-12)
    )


def test_kneser_ney_by_hand():
    """abab: bigrams ab (2), ba (1); after one other token each a and b. D = n1 / (n1 + 2 n2) = 1 / 3, below: 1."""
    model = NGram(spec_of(2, levels=2), [torch.tensor([0, 1, 0, 1])], 2)
    grams = count_grams([torch.tensor([0, 1, 0, 1])], 2, 2)
    assert grams[0].counts.tolist() == [[2.0, 2.0], [1.0, 1.0]]
    assert grams[1].counts[0].tolist() == [2.0, 1.0]
    assert grams[1].discount[0] == pytest.approx(1 / 3)
    first = (2 - 0.5) / 4 + 0.5 * 2 / 4 * 0.5  # no gram occurs once, so D is 1/2
    below = 0 / 2 + 1 * 2 / 2 * 0.5  # counts of 1, both discounted by 1
    second = (2 - 1 / 3) / 2 + (1 / 3) * 1 / 2 * below
    assert float(model.log_prob(torch.tensor([[0, 1]])).exp()) == pytest.approx(first * second)


def test_samples_follow_the_probabilities(runs):
    model = NGram(spec_of(3), runs, 3)
    drawn = model.sample(20_000, seed=0)
    every = torch.tensor(list(product(range(3), repeat=3)))
    p = model.log_prob(every).exp()
    shares = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27) / len(drawn)
    assert (shares - p).abs().max() < 4 * math.sqrt(0.25 / len(drawn))
    assert torch.equal(model.sample(5, seed=3)[2:], model.sample(5, seed=3)[2:])


def test_the_entropy_of_a_markov_chain_is_reached():
    rng, chain = np.random.default_rng(0), np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])
    ids = [0]
    for _ in range(30_000):
        ids.append(int(rng.choice(3, p=chain[ids[-1]])))
    train, test = torch.tensor(ids[:20_000]), torch.tensor(ids[20_000:]).view(-1)[:10_000].view(-1, 100)
    stationary = np.linalg.matrix_power(chain, 100)[0]
    rate = -float((stationary[:, None] * chain * np.log(chain)).sum())
    for order in (2, 4):
        nats = -float(NGram(spec_of(100), [train], order).log_prob(test).mean()) / 100
        assert nats == pytest.approx(rate, abs=0.02)
    assert -float(NGram(spec_of(100), [train], 1).log_prob(test).mean()) / 100 > rate + 0.1


def test_every_token_is_counted_once_however_windows_overlap():
    texts = {f"{number}": bytes([97 + number % 3]) * 50 for number in range(8)}
    data = text_dataset(texts, window=10, stride=3)
    train = data.split("train")
    runs = runs_of(train)
    files = torch.unique(train.examples.starts[train.places] // 50)
    assert len(runs) <= len(files)  # neighbours in the stream run on
    covered = torch.zeros(400, dtype=torch.bool)
    for start in train.examples.starts[train.places].tolist():
        covered[start : start + 10] = True
    assert sum(map(len, runs)) == int(covered.sum())
    whole = load_data("stdlib", window=32)
    parts = {name: sum(map(len, runs_of(whole.split(name)))) for name in ("train", "test")}
    assert parts["train"] > 3 * parts["test"] > 0
