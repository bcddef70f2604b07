from __future__ import annotations

import pytest
import torch
from torch import nn

from exnihilo.nets.attention import CrossAttention, SelfAttention
from exnihilo.nets.patches import from_patches, into_patches
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
    assert torch.equal(CrossAttention(8, 6)(x, torch.randn(2, 3, 6)), x)


def test_scaled_sums_keep_the_variance() -> None:
    """With 1 / sqrt(2) a deep chain of blocks neither grows nor fades; without it every block adds its branch's."""
    torch.manual_seed(0)
    spread = {}
    for scale in (1.0, 0.5**0.5):
        blocks = [ResBlock(nn.Conv2d, 32, 32, 4, scale) for _ in range(12)]
        for block in blocks:
            nn.init.kaiming_normal_(block.conv2.weight, nonlinearity="relu")
        x = torch.randn(4, 32, 8, 8)
        with torch.no_grad():
            for block in blocks:
                x = block(x, torch.zeros(4, 4))
        spread[scale] = float(x.std())
    assert 0.7 < spread[0.5**0.5] < 1.4
    assert spread[1.0] > 2.5


def test_what_places_read_in_tokens_is_torchs_cross_attention() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(128, 10)
    nn.init.normal_(layer.leave.weight, std=0.1)
    x, tokens = torch.randn(2, 128, 3, 5), torch.randn(2, 7, 10)
    oracle = nn.MultiheadAttention(128, 2, kdim=10, vdim=10, batch_first=True)
    key, value = layer.told.weight.chunk(2)
    for theirs, ours in (
        (oracle.q_proj_weight, layer.ask.weight),
        (oracle.k_proj_weight, key),
        (oracle.v_proj_weight, value),
    ):
        theirs.data.copy_(ours)
    oracle.in_proj_bias.data.copy_(torch.cat([layer.ask.bias, layer.told.bias]))
    oracle.out_proj.weight.data.copy_(layer.leave.weight)
    places = layer.norm(x).flatten(2).transpose(1, 2)
    added = oracle(places, tokens, tokens, need_weights=False)[0].transpose(1, 2).view_as(x)
    torch.testing.assert_close(layer(x, tokens), x + added, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x, tokens.flip(1)), layer(x, tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", [0, 8])
def test_a_net_told_tokens_is_steered_by_them(attention: int) -> None:
    torch.manual_seed(0)
    net = UNet((1, 8, 8), 8, 16, tokens=5, attention=attention)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.2)
    x, vector, tokens = torch.randn(3, 1, 8, 8), torch.randn(3, 16), torch.randn(3, 2, 5)
    together = net(x, vector, tokens)
    torch.testing.assert_close(together[:1], net(x[:1], vector[:1], tokens[:1]), rtol=1e-4, atol=1e-4)
    assert (net(x, vector, tokens + 1) - together).abs().amax(dim=(1, 2, 3)).min() > 1e-3


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


@pytest.mark.parametrize("patch", [1, 3])
def test_a_series_is_a_picture_of_height_one(patch: int) -> None:
    torch.manual_seed(0)
    length = 7 * patch
    line = UNet((2, length), 8, 16, depth=2, patch=patch, attention=8, outputs=2)
    flat = UNet((2 * patch, 1, 7), 8, 16, depth=2, attention=8, outputs=2)
    for weight in line.parameters():
        nn.init.normal_(weight, std=0.2)
    for mine, theirs in zip(flat.parameters(), line.parameters(), strict=True):
        if mine.ndim == 4 and mine.shape[-1] == 3:  # a kernel's row in the middle is all that sees the one row
            nn.init.normal_(mine)
            mine.data[:, :, 1] = theirs.data
        else:
            mine.data = theirs.data.view_as(mine)
    x, vector = torch.randn(2, 2, length), torch.randn(2, 16)
    answer = flat(into_patches(x, patch)[:, :, None], vector)[:, :, 0]
    torch.testing.assert_close(line(x, vector), from_patches(answer, patch, (length,)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [1, 7, 8, 13, 64, 100])
@pytest.mark.parametrize("patch", [1, 2, 8])
def test_series_of_any_length_come_back_and_start_at_zero(length: int, patch: int) -> None:
    net = UNet((3, length), 8, 16, patch=patch, attention=4)
    answer = net(torch.randn(2, 3, length), torch.randn(2, 16))
    assert answer.shape == (2, 3, length)
    assert (answer == 0).all()
    deep = sum(isinstance(layer, nn.Conv1d) and layer.stride == (2,) for layer in net.modules())
    assert -(-length // (patch * 2**deep)) <= 7
