from __future__ import annotations

import math
from functools import partial

import torch

from exnihilo.core import seeded
from exnihilo.nets.layers import Fourier, RandomFourier
from exnihilo.nets.time_embedding import TimeEmbedding, TimeTokens


def test_times_and_conditions_are_told_apart() -> None:
    torch.manual_seed(0)
    embedding = TimeEmbedding(3, 2, 16)
    t, label = torch.tensor([0.0, 0.001, 0.5, 1.0]), torch.tensor([0, 1, 2, -1])
    vectors = embedding(t, None, None)
    assert torch.pdist(vectors).min() > 1e-3  # a time in [0, 1] is not read as one in 0 ... 1000
    assert torch.equal(embedding(t, torch.full((4,), -1), None), vectors)
    assert torch.pdist(embedding(torch.zeros(4), label, torch.zeros(4, 2))).min() > 1e-2


def test_tokens_say_the_same_one_by_one() -> None:
    torch.manual_seed(0)
    tokens, embedding = TimeTokens(3, 2, 16), TimeEmbedding(3, 2, 16)
    embedding.load_state_dict(tokens.state_dict())
    t, label, attributes = torch.rand(4), torch.tensor([0, 1, 2, -1]), torch.randn(4, 2)
    both = tokens(t, label, attributes)
    assert both.shape == (4, tokens.count, 16) == (4, 2, 16)
    torch.testing.assert_close(both.sum(dim=1), embedding(t, label, attributes))
    alone = TimeTokens(0, 0, 16)
    assert alone(t, None, None).shape == (4, alone.count, 16) == (4, 1, 16)


def test_random_features_are_a_gaussian_kernel() -> None:
    width, scale = 4096, 2.0
    with seeded("frequencies"):
        features = RandomFourier(width, scale)
    t = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.2])
    products = features(t) @ features(t).T / (width / 2)
    apart = t[:, None] - t
    torch.testing.assert_close(products, torch.exp(-2 * (math.pi * scale * apart).square()), rtol=0, atol=0.08)
    assert products.diagonal().sub(1).abs().max() < 1e-5


def test_random_frequencies_belong_to_the_weights() -> None:
    with seeded("one"):
        one = TimeEmbedding(0, 0, 8, partial(RandomFourier, scale=30.0))
    with seeded("other"):
        other = TimeEmbedding(0, 0, 8, partial(RandomFourier, scale=30.0))
    t = torch.rand(3)
    assert not torch.equal(one(t, None, None), other(t, None, None))
    assert "time.0.frequencies" not in dict(other.named_parameters())
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(t, None, None), other(t, None, None))


def test_features_have_the_width_asked_for() -> None:
    for width in (7, 8):
        assert Fourier(width)(torch.rand(3)).shape == RandomFourier(width)(torch.rand(3)).shape == (3, width)
    assert TimeEmbedding(0, 0, 9)(torch.rand(3), None, None).shape == (3, 9)
