"""Networks over pictures: what they see, to the pixel, and walks that equal whole passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Noise
from exnihilo.models.autoregressive.colours import CoupledColours
from exnihilo.nets.gated import GatedPixelCNN
from exnihilo.nets.masked import CausalNetwork, FullWalk, at
from exnihilo.nets.multistream import PixelStreams
from exnihilo.nets.pixels import PixelCNN
from exnihilo.nets.recurrent import PixelRNN, skew, unskew
from exnihilo.nets.shifted import NewPixel, NewRow, ShiftedConv
from exnihilo.probability.likelihoods import Categorical, DiscretisedLogisticMixture, Levels
from exnihilo.probability.mixtures import coupled_size

LEVELS = 4


def awake(network: nn.Module) -> nn.Module:
    """In double precision, every weight random."""
    torch.manual_seed(0)
    for weight in network.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    return network.double().eval()


def build(name: str, shape: tuple[int, int, int], vector: int = 0, depth: int = 3) -> tuple[CausalNetwork, Levels]:
    head: Levels = Categorical(LEVELS)
    if name == "gated":
        network: CausalNetwork = GatedPixelCNN(shape, LEVELS, width=18, depth=depth, vector=vector)
    elif name == "plus":
        head = DiscretisedLogisticMixture(LEVELS, components=3)
        pixels = PixelStreams(shape, coupled_size(shape[0], 3), width=12, blocks=1, vector=vector)
        network = CoupledColours(pixels, head)
    else:
        layer = "row" if name == "row" else "diagonal"
        network = PixelRNN(shape, LEVELS, layer=layer, width=18, depth=depth, vector=vector)
    awake(network)
    return network, head


def reach(network: CausalNetwork, place: tuple[int, int, int], tries: int = 4) -> Tensor:
    """[C, H, W] which entries the parameters at a place depend on, in any of some pictures."""
    found = torch.zeros(network.shape, dtype=torch.bool)
    for number in range(tries):
        x = Noise(number).uniform(*network.shape, dtype=torch.float64) * 2 - 1
        x.requires_grad_()
        parameters = network(x, None).unflatten(1, (-1, network.shape[0]))[at((slice(None), *place))]
        found |= torch.autograd.grad(parameters.square().sum(), x)[0][0] != 0
    return found


def before(network: CausalNetwork, place: tuple[int, int, int]) -> Tensor:
    """[C, H, W] the entries that come before a place: pixels in raster order, then red, green, blue."""
    past = torch.zeros(network.shape, dtype=torch.bool)
    for colour, row, column in network.order():
        if (colour, row, column) == place:
            return past
        past[colour, row, column] = True
    raise AssertionError(place)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 3, 4)], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["gated", "diagonal", "plus"])
def test_all_that_came_before_is_seen_and_nothing_else(name: str, shape: tuple[int, int, int]):
    network, _ = build(name, shape)
    for place in network.order():
        assert torch.equal(reach(network, place), before(network, place)), place


@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 3, 4)], ids=["grey", "colour"])
def test_a_row_lstm_sees_nothing_that_comes_later(shape: tuple[int, int, int]):
    network, _ = build("row", shape)
    for place in network.order():
        assert not (reach(network, place) & ~before(network, place)).any(), place


def test_one_row_lstm_sees_a_triangle():
    """States spread by one column a row; the first convolution adds three columns, and the input's one to the left."""
    network, _ = build("row", (1, 6, 19), depth=1)
    row, column = 5, 9
    columns, rows = torch.arange(19), torch.arange(6)[:, None]
    up = row - rows
    triangle = (columns >= column - up - 4) & (columns <= column + up + 2)
    triangle[row] &= columns < column
    assert torch.equal(reach(network, (0, row, column), tries=8)[0], triangle)


def test_masked_kernels_of_plain_stacks_would_miss_what_these_see():
    plain = awake(PixelCNN((1, 6, 6), 1, width=8, depth=3, kernel=3))
    assert not reach(plain, (0, 4, 2))[0, 3, 4]
    gated, _ = build("gated", (1, 6, 6))
    assert reach(gated, (0, 4, 2))[0, 3, 4]


@pytest.mark.parametrize("vector", [0, 3])
@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 5, 3), (2, 1, 1), (1, 9, 7)], ids=str)
@pytest.mark.parametrize("name", ["gated", "diagonal", "row", "plus"])
def test_walks_that_compute_what_is_new_equal_whole_passes(name: str, shape: tuple[int, int, int], vector: int):
    network, head = build(name, shape, vector, depth=2)
    told = torch.randn(2, vector, dtype=torch.float64) if vector else None
    short, full = network.walk(2, told), FullWalk(network, 2, told)
    noise_short, noise_full = Noise(0, 2), Noise(0, 2)
    with torch.no_grad():
        for place in network.order():
            a, b = short.predict(place), full.predict(place)
            torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)
            short.write(place, head.draw(a, noise_short)[:, 0])
            full.write(place, head.draw(b, noise_full)[:, 0])
    assert torch.equal(short.x, full.x)
    assert (short.x != 0).all()  # none of the levels is 0: every entry was written


def test_skewed_and_back():
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    wide = skew(x)
    assert wide.shape == (2, 3, 4, 8)
    assert torch.equal(unskew(wide), x)
    for row in range(4):
        assert torch.equal(wide[:, :, row, row : row + 5], x[:, :, row])
        assert wide[:, :, row].count_nonzero() == x[:, :, row].count_nonzero()
    assert unskew(skew(torch.ones(1, 1))).shape == (1, 1)


@pytest.mark.parametrize("wide", [True, False])
def test_shifted_convolutions_row_by_row_and_pixel_by_pixel(wide: bool):
    conv = ShiftedConv(2, 3, 2, 3, wide=wide)
    x = torch.randn(1, 2, 4, 5)
    whole = conv(x)
    assert whole.shape == (1, 3, 4, 5)
    rows, pixels = NewRow(), NewPixel(5)
    with torch.no_grad():
        for row in range(4):
            rows.row = pixels.row = row
            torch.testing.assert_close(rows.through(conv, x[:, :, row : row + 1]), whole[:, :, row : row + 1])
            for pixels.column in range(5) if not wide else ():
                here = (slice(None), slice(None), slice(row, row + 1), slice(pixels.column, pixels.column + 1))
                torch.testing.assert_close(pixels.through(conv, x[here]), whole[here])
