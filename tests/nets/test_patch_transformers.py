from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from exnihilo.nets.attention import Attention, heads_of
from exnihilo.nets.dit import DiT, SteeredBlock, places_of
from exnihilo.nets.patches import filled, from_patches, from_tokens, into_patches, into_tokens
from exnihilo.nets.uvit import TokenBlock, UViT

SHAPES = [(1, 8, 8), (3, 9, 7), (2, 5, 17), (1, 1, 1), (2, 13), (1, 64), (1, 3, 4, 5)]


def dit(shape: tuple[int, ...], patch: int = 2, width: int = 16, depth: int = 2, **sizes: int) -> DiT:
    return DiT(shape, width, 12, depth=depth, patch=patch, **sizes)


def uvit(shape: tuple[int, ...], patch: int = 2, width: int = 16, depth: int = 1, **sizes: int) -> UViT:
    return UViT(shape, width, 2, depth=depth, patch=patch, **sizes)


def told(net: nn.Module, n: int) -> Tensor:
    """What a network takes beside the data."""
    return torch.randn(n, 12) if isinstance(net, DiT) else torch.randn(n, 2, 16)


def rough(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.4)
    return net


def count(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


# -- patches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_patches_come_back_whatever_the_sides(shape: tuple[int, ...], patch: int) -> None:
    x = torch.randn(2, *shape)
    folded = into_patches(x, patch)
    assert folded.shape == (2, shape[0] * patch ** len(shape[1:]), *filled(shape[1:], patch))
    assert torch.equal(from_patches(folded, patch, shape[1:]), x)
    assert torch.equal(from_tokens(into_tokens(x, patch), patch, shape[1:]), x)


def test_patches_of_pictures_are_those_of_pixel_unshuffle() -> None:
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(into_patches(x, 4), nn.functional.pixel_unshuffle(x, 4))
    tokens = into_tokens(x, 4)
    assert torch.equal(tokens[0, 4].view(3, 4, 4), x[0, :, 4:8, 4:8])  # the second of the second row of three


# -- networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dit, uvit])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_any_side_comes_back_and_starts_at_zero(make, shape: tuple[int, ...], patch: int) -> None:
    net = make(shape, patch, inputs=2, outputs=3)
    answer = net(torch.randn(2, 2 * shape[0], *shape[1:]), told(net, 2))
    assert answer.shape == (2, 3 * shape[0], *shape[1:])
    assert (answer == 0).all()


@pytest.mark.parametrize("make", [dit, uvit])
def test_every_weight_learns_after_a_step(make) -> None:
    torch.manual_seed(0)
    net = make((2, 7, 5))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(4):  # layers that start at zero open one after the other
        optimizer.zero_grad()
        (net(torch.randn(4, 2, 7, 5), told(net, 4)) - torch.randn(4, 2, 7, 5)).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in net.parameters())


@pytest.mark.parametrize("make", [dit, uvit])
def test_what_is_told_steers_and_examples_do_not_mix(make) -> None:
    net = rough(make((1, 6, 6)))
    x, beside = torch.randn(3, 1, 6, 6), told(net, 3)
    together = net(x, beside)
    torch.testing.assert_close(together[:1], net(x[:1], beside[:1]), rtol=1e-4, atol=1e-4)
    assert (net(x, torch.randn_like(beside)) - together).abs().max() > 1e-2


def shuffled(x: Tensor, patch: int, order: Tensor) -> Tensor:
    return from_tokens(into_tokens(x, patch)[:, order], patch, x.shape[2:])


@pytest.mark.parametrize("make", [dit, uvit])
def test_only_places_and_the_last_convolution_know_where_a_patch_is(make) -> None:
    net = rough(make((2, 8, 6)))
    if isinstance(net, UViT):
        with torch.no_grad():
            net.smooth.weight.zero_()
            net.smooth.weight[range(2), range(2), 1, 1] = 1.0
    x, beside, order = torch.randn(3, 2, 8, 6), told(net, 3), torch.randperm(12)
    moved = net(shuffled(x, 2, order), beside)
    assert (moved - shuffled(net(x, beside), 2, order)).abs().max() > 1e-2
    net.places.data[-12:] = 0
    moved = net(shuffled(x, 2, order), beside)
    torch.testing.assert_close(moved, shuffled(net(x, beside), 2, order), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [16, 17, 30])
def test_places_know_how_far_apart_they_are(width: int) -> None:
    places = places_of((5, 7), width).view(5, 7, width)
    assert torch.pdist(places.flatten(0, 1)).min() > 0.1
    if width % 4 == 0:
        here, there = places[:-1, :-2].flatten(0, 1), places[1:, 2:].flatten(0, 1)
        products = (here * there).sum(dim=1)
        torch.testing.assert_close(products, products[:1].expand_as(products), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(places.square().sum(dim=2), torch.full((5, 7), width / 2))


def test_sizes_are_those_of_the_formulas() -> None:
    w, v, patch, channels, depth, tokens = 24, 12, 2, 3, 5, 16
    size, block = channels * patch**2, 12 * w**2 + 9 * w  # of attention and MLP, with biases
    net = DiT((channels, 8, 8), w, v, depth=depth, patch=patch, outputs=2)
    steering = 6 * w * (v + 1)
    ends = (size + 1) * w + 2 * w * (v + 1) + 2 * size * (w + 1)
    assert count(net) == depth * (block + steering) + ends
    joined = UViT((channels, 8, 8), w, 2, depth=2, patch=patch)
    skips, norms = 2 * (2 * w + 1) * w, (2 * 5 + 1) * 2 * w
    ends = (size + 1) * w + (tokens + 2) * w + size * (w + 1) + 9 * channels**2 + channels
    assert count(joined) == 5 * block + skips + norms + ends


# -- blocks --------------------------------------------------------------------------------------------------------


def test_a_steered_block_starts_as_nothing_and_is_that_of_diffusers() -> None:
    attention = pytest.importorskip("diffusers.models.attention")
    torch.manual_seed(0)
    theirs = attention.BasicTransformerBlock(
        24,
        2,
        12,
        activation_fn="gelu",
        num_embeds_ada_norm=5,
        attention_bias=True,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    ).eval()
    ours = SteeredBlock(24, 24)
    ours.attention.heads = 2
    h, t, label = torch.randn(3, 7, 24), torch.tensor([1, 50, 900]), torch.tensor([0, 3, 4])
    vector = nn.functional.silu(theirs.norm1.emb(t, label, hidden_dtype=h.dtype))
    nn.init.zeros_(ours.modulate.weight)
    nn.init.zeros_(ours.modulate.bias)
    assert torch.equal(ours(h, vector, None), h)
    parts = [theirs.attn1.to_q, theirs.attn1.to_k, theirs.attn1.to_v]
    with torch.no_grad():
        ours.attention.enter.weight.copy_(torch.cat([part.weight for part in parts]))
        ours.attention.enter.bias.copy_(torch.cat([part.bias for part in parts]))
    for mine, other in [
        (ours.modulate, theirs.norm1.linear),
        (ours.attention.leave, theirs.attn1.to_out[0]),
        (ours.mlp.enter, theirs.ff.net[0].proj),
        (ours.mlp.leave, theirs.ff.net[2]),
    ]:
        mine.load_state_dict(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(h, vector, None), theirs(h, timestep=t, class_labels=label))


def test_a_skip_that_is_weighed_with_nothing_is_none() -> None:
    torch.manual_seed(0)
    plain, joining = TokenBlock(16, joins=False), TokenBlock(16, joins=True)
    assert joining.skip is not None
    joining.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        joining.skip.weight.copy_(torch.cat([torch.eye(16), torch.zeros(16, 16)], dim=1))
        joining.skip.bias.zero_()
    h = torch.randn(2, 5, 16)
    torch.testing.assert_close(joining(h, None, torch.randn(2, 5, 16)), plain(h, None))


def test_the_deepest_block_joins_the_shallowest() -> None:
    net = rough(UViT((1, 4), 16, 1, depth=2, patch=1))
    kept: list[Tensor] = []
    for block in net.down:
        block.register_forward_hook(lambda module, given, answer: kept.append(answer))
    joined: list[Tensor] = []
    for block in net.up:
        block.register_forward_pre_hook(lambda module, given: joined.append(given[2]))
    net(torch.randn(2, 1, 4), torch.randn(2, 1, 16))
    assert joined[0] is kept[1]
    assert joined[1] is kept[0]


def test_further_tokens_are_seen_where_known_and_left_out_of_the_answer() -> None:
    net = rough(dit((1, 6, 6), told=5))
    x, vector, words = torch.randn(2, 1, 6, 6), torch.randn(2, 12), torch.randn(2, 3, 5)
    known = torch.tensor([[True, True, False], [False, False, False]])
    without, answer = net(x, vector), net(x, vector, words, known)
    assert answer.shape == x.shape
    assert (answer[0] - without[0]).abs().max() > 1e-3
    torch.testing.assert_close(answer[1], without[1], rtol=1e-4, atol=1e-4)
    other = torch.where(known[..., None], words, torch.randn_like(words))
    assert torch.equal(net(x, vector, other, known), answer)
    joined = rough(uvit((1, 6, 6)))
    tokens = torch.randn(2, 2, 16)
    known = torch.tensor([[True, False]]).expand(2, 2)
    answer = joined(x, tokens, known)
    tokens[:, 1] = torch.randn(2, 16)
    torch.testing.assert_close(joined(x, tokens, known), answer)
    assert (joined(x, tokens) - answer).abs().max() > 1e-3


def test_attention_is_the_formula_and_looks_back_or_where_it_may() -> None:
    torch.manual_seed(0)
    layer, h = Attention(12, 3), torch.randn(2, 6, 12)
    query, key, value = layer.enter(h).view(2, 6, 3, 3, 4).unbind(2)  # each [B, T, heads, d]
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(math.sqrt(4)).softmax(dim=-1)
    mixed = torch.einsum("bhqk,bkhd->bqhd", weights, value).flatten(2)
    torch.testing.assert_close(layer(h), layer.leave(mixed), rtol=1e-4, atol=1e-5)
    looking_back = layer.join(*layer.split(h), causal=True)
    for end in range(1, 7):
        known = (torch.arange(6) < end).expand(2, 6)
        torch.testing.assert_close(layer(h, known)[:, end - 1], looking_back[:, end - 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "channels", "multiple", "heads"),
    [(128, 32, 2, 4), (128, 64, 1, 2), (96, 64, 1, 1), (9, 64, 1, 1), (384, 64, 1, 6), (36, 8, 2, 3), (1, 64, 1, 1)],
)
def test_heads_divide_the_width(width: int, channels: int, multiple: int, heads: int) -> None:
    assert heads_of(width, channels, multiple) == heads
