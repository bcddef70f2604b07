"""Masked networks: golden path counts, who sees whom, and walks that equal whole passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exnihilo.nets.masked import MADE, FullWalk, MaskedLinear, MaskedWeight, causal_mask, hidden_degrees, open_blocks
from exnihilo.nets.pixels import PixelCNN

torch.set_num_threads(1)


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """With an answer that is not zero."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.5
    return network


def test_golden_counts_of_open_weights():
    """Likelihood card G15."""
    one = torch.zeros(1)
    assert int(causal_mask(5, one, one, True).sum()) == 12
    assert int(causal_mask(5, one, one, False).sum()) == 13


def test_golden_path_counts():
    """Likelihood card G15: D = 4, hidden degrees 1, 2, 3, 1 and 2, in any order."""
    degrees, entries = hidden_degrees(5, 4), torch.arange(1, 5)
    assert degrees.tolist() == [1, 1, 2, 2, 3]
    paths = MaskedLinear(degrees, entries, strict=True).mask.int() @ MaskedLinear(entries, degrees).mask.int()
    assert paths.tolist() == [[0, 0, 0, 0], [2, 0, 0, 0], [4, 2, 0, 0], [5, 3, 1, 0]]


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("vector", [0, 3])
def test_an_entry_sees_those_before_it_alone(vector: int, direct: bool):
    network = awake(MADE((5,), 2, width=24, depth=2, vector=vector, direct=direct))
    v = torch.randn(1, vector) if vector else None
    x = torch.randn(1, 5)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x, v), x)[0, :, 0].view(2, 5, 5)
    assert (jacobian.triu() == 0).all()
    assert (jacobian[0].tril(-1)[1:, 0] != 0).all()


def test_the_vector_reaches_every_entry():
    network = awake(MADE((4,), 1, width=24, depth=1, vector=2))
    jacobian = torch.autograd.functional.jacobian(lambda v: network(torch.zeros(1, 4), v), torch.randn(1, 2))[0, :, 0]
    assert (jacobian.abs().sum(dim=1) > 0).all()


def test_one_entry_has_a_distribution_of_its_own():
    network = awake(MADE((1,), 3, width=4))
    answer = network(torch.randn(6, 1))
    assert torch.equal(answer, answer[:1].expand(6, -1))


@pytest.mark.parametrize(
    "network",
    [
        MADE((6,), 5, width=32, depth=2, categories=5),
        MADE((6,), 5, width=32, depth=1, categories=5, order=torch.tensor([3, 0, 5, 1, 2, 4]), direct=True),
        PixelCNN((1, 3, 4), 5, width=8, depth=2, kernel=5, categories=5),
        PixelCNN((2, 3, 3), 5, width=8, depth=1, categories=5),
    ],
    ids=["made", "made, direct, in another order", "pixels", "two colours"],
)
def test_walks_over_categories_equal_whole_passes(network: MADE | PixelCNN):
    awake(network)
    index = torch.randint(5, (3, *network.shape), generator=torch.Generator().manual_seed(1)).float()
    whole: Tensor = network(index, None).unflatten(1, (5, -1))
    with torch.no_grad():
        for walk in (network.walk(3, None), FullWalk(network, 3, None)):
            for place in network.order():
                found = walk.predict(place)
                torch.testing.assert_close(found, whole[(slice(None), slice(None), *place)], rtol=1e-4, atol=1e-4)
                walk.write(place, index[(slice(None), *place)])
            assert torch.equal(walk.x, index)


def test_other_masks_over_categories_share_what_is_read():
    network = awake(MADE((4,), 3, width=12, depth=1, categories=3))
    other = network.masked_anew(torch.tensor([2, 0, 3, 1]), [hidden_degrees(12, 4)])
    x = torch.tensor([[0.0, 1, 2, 1]])
    whole = network(x), other(x)
    assert other.read is network.read
    assert not torch.equal(*whole)
    changed = x.clone()
    changed[0, 1] = 0  # the last in the other order: nothing depends on it
    assert torch.equal(other(changed), whole[1])
    assert not torch.equal(network(changed), whole[0])


@pytest.mark.parametrize("order", [torch.arange(64), torch.arange(64).flip(0)], ids=["rising", "falling"])
def test_block_by_block_is_the_same_product(order: Tensor) -> None:
    network = awake(MADE((64,), 2, width=256, depth=2, order=order, direct=True))
    layers = [layer for layer in network.modules() if isinstance(layer, MaskedWeight)]
    assert [len(layer.blocks) for layer in layers] == [4, 4, 4, 4]
    x = torch.randn(3, 64)
    whole = network(x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


def test_what_is_open_lies_in_the_blocks() -> None:
    """Every row once, and no open weight outside; a full or small matrix is one block."""
    generator = torch.Generator().manual_seed(0)
    for degrees in (torch.arange(101), torch.randint(90, (101,), generator=generator)):
        mask = torch.arange(95) < degrees[:, None]
        outside = mask.clone()
        for rows, columns in open_blocks(mask):
            outside[rows, columns] = False
        assert not outside.any()
        assert sum(rows.stop - rows.start for rows, _ in open_blocks(mask)) == 101
    assert len(open_blocks(torch.ones(128, 128).tril())) == 4
    assert len(open_blocks(torch.ones(128, 128))) == 1
    assert len(open_blocks(torch.ones(8, 8).tril())) == 1


def test_direct_connections_are_the_linear_part() -> None:
    """With no hidden unit speaking, a MADE with direct connections is fully visible: b + A x, A strictly lower."""
    network = awake(MADE((4,), 1, width=8, depth=1, direct=True))
    assert isinstance(network, MADE)
    assert network.direct is not None
    network.leave.weight.data.zero_()
    x = torch.randn(3, 4)
    expected = x @ network.direct.weight.tril(-1).T + network.leave.bias
    torch.testing.assert_close(network(x), expected)


def test_direct_connections_are_shared_under_other_masks() -> None:
    network = awake(MADE((4,), 1, width=8, depth=1, direct=True))
    order = torch.tensor([2, 0, 3, 1])
    other = network.masked_anew(order, [hidden_degrees(8, 4)])
    assert other.direct is not None
    assert other.direct.weight is network.direct.weight
    jacobian = torch.autograd.functional.jacobian(lambda x: other(x), torch.randn(1, 4))[0, :, 0]
    assert (jacobian[order][:, order].triu() == 0).all()


def test_a_narrow_layer_has_degrees_from_the_first_to_the_last_entries() -> None:
    narrow = hidden_degrees(10, 101)
    assert narrow.tolist() == [1 + 10 * unit for unit in range(10)]
    assert hidden_degrees(7, 4).tolist() == [1, 1, 1, 2, 2, 3, 3]
    assert hidden_degrees(4, 4, from_zero=True).tolist() == [0, 1, 2, 3]
