"""Layers whose largest singular value is bounded, as operators."""

from __future__ import annotations

import pytest
import torch

from exnihilo.nets.lipschitz import Bounded, BoundedConv2d, BoundedLinear, LipSwish

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def grown(layer: Bounded) -> Bounded:
    """Weights far beyond their bound, whose power iterations have caught up."""
    layer.weight.data.mul_(3).add_(0.1 * torch.randn_like(layer.weight))
    layer.train()
    for _ in range(400):
        layer(torch.zeros_like(layer.right))
    return layer.eval()


def test_no_layer_stretches_more_than_its_bound() -> None:
    linear = grown(BoundedLinear(6, 9, 0.9))
    matrix = linear(torch.eye(6)) - linear(torch.zeros(1, 6))
    assert 0.89 < torch.linalg.matrix_norm(matrix, ord=2).item() <= 0.9 + 1e-3
    conv = grown(BoundedConv2d(2, 3, 3, (4, 5), 0.9))
    pixels = torch.eye(40).view(40, 2, 4, 5)
    operator = (conv(pixels) - conv(torch.zeros(1, 2, 4, 5))).flatten(1)
    assert 0.89 < torch.linalg.matrix_norm(operator, ord=2).item() <= 0.9 + 1e-3


def test_a_layer_within_its_bound_stays_as_it_is() -> None:
    layer = BoundedLinear(5, 5, 0.9)
    layer.shorten(0.3)
    torch.testing.assert_close(layer(torch.eye(5)), layer.weight.T)


def test_lipswish_has_no_slope_above_one() -> None:
    activation, x = LipSwish(), torch.linspace(-20, 20, 4001, requires_grad=True)
    for raw in (-3.0, 0.5, 4.0):
        activation.raw.data.fill_(raw)
        assert torch.autograd.grad(activation(x).sum(), x)[0].abs().max() <= 1 + 1e-5


def test_only_training_moves_the_estimate_of_the_norm() -> None:
    layer = BoundedLinear(5, 5, 0.9)
    layer.weight.data.add_(torch.randn(5, 5))
    before = layer.right.clone()
    layer.eval()(torch.zeros(1, 5))
    assert torch.equal(layer.right, before)
    layer.train()(torch.zeros(1, 5))
    assert not torch.equal(layer.right, before)
