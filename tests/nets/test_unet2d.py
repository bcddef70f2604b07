from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from exnihilo.core import OptionError
from exnihilo.nets.unet2d import AttentionPool, Classifier2D, Layout, UNet2D

#: Layouts, and what diffusers' UNet2DModel calls them.
PAIRS: dict[str, tuple[Layout, dict[str, Any]]] = {
    "ddpm": (
        Layout((8, 16, 16), 2, (False, True, False), groups=4, modulation="shift", corner=True, epsilon=1e-6,
               sines_first=True, stretch=1.0),
        dict(block_out_channels=(8, 16, 16), layers_per_block=2, norm_num_groups=4, norm_eps=1e-6,
             down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), attention_head_dim=None,
             up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), downsample_padding=0,
             flip_sin_to_cos=False, freq_shift=1),
    ),
    "scaled": (
        Layout((8, 16), 1, (True, True), head=4, groups=2, middle_norm=False),
        dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=2, attention_head_dim=4,
             down_block_types=("AttnDownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "AttnUpBlock2D"),
             resnet_time_scale_shift="scale_shift"),
    ),
    "adm": (
        Layout((8, 8, 16), 1, (False, True, True), head=8, groups=4, resampling="residual"),
        dict(block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4, attn_norm_num_groups=4,
             down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"), attention_head_dim=8,
             up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"), downsample_type="resnet",
             upsample_type="resnet", resnet_time_scale_shift="scale_shift"),
    ),
    "plain": (
        Layout((8, 8), 1, (False, False), groups=4, modulation="shift", middle=False),
        dict(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, add_attention=False,
             down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("classes", [0, 5])
def test_equal_weights_give_what_diffusers_gives(name: str, classes: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    layout, config = PAIRS[name]
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(in_channels=2, out_channels=3, num_class_embeds=classes or None, **config).eval()
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.2)
    ours = UNet2D(2, 3, layout, classes).eval()
    ours.load_state_dict(theirs.state_dict())
    x, level = torch.randn(3, 2, 16, 8), torch.tensor([0, 333, 999])
    label = torch.tensor([0, 4, 2]) if classes else None
    with torch.no_grad():
        expected = theirs(x, level, class_labels=label).sample
        answer = ours(x, level.float(), label)
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("side", [(9, 7), (8, 8), (5, 17)])
@pytest.mark.parametrize("resampling", ["convolution", "residual"])
@pytest.mark.parametrize("corner", [False, True])
def test_any_side_comes_back_and_starts_at_zero(side: tuple[int, int], resampling: Any, corner: bool) -> None:
    layout = Layout((8, 8), 1, (False, True), groups=4, resampling=resampling, corner=corner)
    x = torch.randn(2, 1, *side)
    answer = UNet2D(1, 2, layout)(x, torch.zeros(2))
    assert answer.shape == (2, 2, *side)
    assert (answer == 0).all()


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    layout = Layout((8, 16), 1, (False, True), groups=4, resampling="residual")
    net, critic = UNet2D(1, 1, layout, 4), Classifier2D(1, (9, 7), 3, layout)
    optimizer = torch.optim.Adam([*net.parameters(), *critic.parameters()], lr=1e-2)
    for _ in range(4):  # zero-initialised layers open one after the other
        x, level, label = torch.randn(8, 1, 9, 7), torch.arange(8.0), torch.arange(8) % 4
        optimizer.zero_grad()
        loss = (net(x, level, label) - torch.randn_like(x)).square().mean()
        (loss + nn.functional.cross_entropy(critic(x, level), label % 3)).backward()
        optimizer.step()
    for name, weight in [*net.named_parameters(), *critic.named_parameters()]:
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_attention_pools_as_the_formula_says() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(8, 6, 3, heads=2)
    x = torch.randn(2, 8, 2, 3)
    places = x.flatten(2).transpose(1, 2)
    places = torch.cat([places.mean(1, keepdim=True), places], 1) + pool.positions
    query, key, value = pool.attention.enter(places).chunk(3, dim=2)
    mixed = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[:, :1, head] * key[..., head]).sum(-1).div(2).softmax(dim=1)
        mixed.append((weights[..., None] * value[..., head]).sum(1))
    torch.testing.assert_close(pool(x), pool.attention.leave(torch.cat(mixed, dim=1)))


def test_layouts_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match=r"48 channels are not allowed.*multiples of the 32 groups"):
        Layout((48, 64), 1, (False, False))
    with pytest.raises(OptionError, match="does not divide the 64"):
        Layout((32, 64), 1, (False, True), head=48)
