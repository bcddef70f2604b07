"""Splits: by identity alone, in exact shares, fair to every class."""

from __future__ import annotations

import pytest
import torch

from exnihilo.core import DataError
from exnihilo.data.splits import deal


def names(n: int) -> list[str]:
    return [f"cats/{number}.png" for number in range(n)]


@pytest.mark.parametrize("n", [8, 40, 150, 1797, 5000])
def test_shares_are_exact_and_no_split_is_empty(n: int) -> None:
    counts = torch.bincount(deal(names(n)), minlength=3)
    assert (counts > 0).all()
    for count, share in zip(counts.tolist(), (0.72, 0.08, 0.20), strict=True):
        assert abs(count - share * n) <= 2
    assert abs(counts[2] - 0.2 * n) < 1


def test_the_order_of_the_files_does_not_matter() -> None:
    n = 300
    label = torch.arange(n) % 3
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    shuffled = deal([names(n)[place] for place in order.tolist()], label[order])
    assert torch.equal(shuffled, deal(names(n), label)[order])


def test_every_class_gets_its_share() -> None:
    label = torch.cat([torch.zeros(500), torch.ones(50), torch.full((26,), 2)]).long()
    part = deal(names(len(label)), label)
    for number, total in enumerate(torch.bincount(label).tolist()):
        tested = int(((label == number) & (part == 2)).sum())
        assert abs(tested - 0.2 * total) <= 1


def test_neighbours_are_not_dealt_in_turn() -> None:
    """The hash decides, not the position: a source sorted in time gives every split all times."""
    part = deal(names(1000))
    assert (part[:500] == 2).float().mean() == pytest.approx(0.2, abs=0.06)
    assert part[:25].tolist() != part[25:50].tolist()


def test_the_sources_own_test_split_is_kept() -> None:
    own = torch.cat([torch.zeros(100), torch.full((20,), 2)]).to(torch.int8)
    part = deal(names(120), None, own)
    assert torch.equal(part == 2, own == 2)
    assert (part == 1).sum() == 10
    full = own.clone()
    full[:7] = 1
    assert torch.equal(deal(names(120), None, full), full)
    with pytest.raises(DataError, match="test split is empty"):
        deal(names(120), None, torch.zeros(120, dtype=torch.int8))


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(DataError, match="7 examples are too few"):
        deal(names(7))


def test_the_rule_is_for_ever() -> None:
    """A published split must not move: figures of last year are compared with it."""
    assert deal([f"row {row}" for row in range(12)]).tolist() == [2, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0, 0]
