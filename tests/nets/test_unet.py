from __future__ import annotations

import pytest
import torch
from torch import nn

from exnihilo.nets.attention import SelfAttention
from exnihilo.nets.time_embedding import TimeEmbedding
from exnihilo.nets.unet import ResBlock, UNet


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (1, 28, 28), (2, 5, 17), (1, 1, 1), (3, 2, 30)])
@pytest.mark.parametrize("patch", [1, 2])
def test_any_side_comes_back_and_starts_at_zero(shape: tuple[int, int, int], patch: int) -> None:
    net = UNet(shape, 8, 16, patch=patch, attention=4)
    x = torch.randn(2, *shape)
    answer = net(x, torch.randn(2, 16))
    assert answer.shape == x.shape
    assert (answer == 0).all()


def test_every_weight_of_a_deeper_net_learns_after_a_step() -> None:
    torch.manual_seed(0)
    net = UNet((1, 9, 9), 8, 16, depth=2, attention=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(4):  # zero-initialised layers open one after the other
        optimizer.zero_grad()
        (net(torch.randn(4, 1, 9, 9), torch.randn(4, 16)) - torch.randn(4, 1, 9, 9)).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in net.parameters())


def test_the_vector_steers_and_examples_do_not_mix() -> None:
    torch.manual_seed(0)
    net = UNet((1, 8, 8), 8, 16)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, vector = torch.randn(3, 1, 8, 8), torch.randn(3, 16)
    together = net(x, vector)
    torch.testing.assert_close(together[:1], net(x[:1], vector[:1]), rtol=1e-4, atol=1e-4)
    assert (net(x, vector + 1) - together).abs().max() > 1e-2


def test_blocks_start_as_nothing() -> None:
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(ResBlock(nn.Conv2d, 8, 8, 4)(x, torch.randn(2, 4)), x)
    assert torch.equal(SelfAttention(8)(x), x)


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(128)
    for weight in layer.attention.leave.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x = torch.randn(2, 128, 3, 5)
    places = layer.norm(x).flatten(2).transpose(1, 2)
    query, key, value = layer.attention.enter(places).transpose(1, 2).view(2, 3, 2, 64, 15).unbind(1)
    weights = torch.einsum("bhdq,bhdk->bhqk", query, key).div(8).softmax(dim=-1)
    mixed = torch.einsum("bhqk,bhdk->bqhd", weights, value).flatten(2)
    added = layer.attention.leave(mixed).transpose(1, 2).view_as(x)
    torch.testing.assert_close(layer(x), x + added, rtol=1e-4, atol=1e-5)


def test_times_and_conditions_are_told_apart() -> None:
    torch.manual_seed(0)
    embedding = TimeEmbedding(3, 2, 16)
    t, label = torch.tensor([0.0, 0.001, 0.5, 1.0]), torch.tensor([0, 1, 2, -1])
    vectors = embedding(t, None, None)
    assert torch.pdist(vectors).min() > 1e-3  # a time in [0, 1] is not read as one in 0 ... 1000
    assert torch.equal(embedding(t, torch.full((4,), -1), None), vectors)
    assert torch.pdist(embedding(torch.zeros(4), label, torch.zeros(4, 2))).min() > 1e-2
