from __future__ import annotations

import pytest
import torch

from exnihilo.core import seeded
from exnihilo.evaluation.memorisation import closer, copies, distance_ratio, nearest


def sets() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    with seeded("memorisation"):
        return torch.randn(400, 6), torch.randn(200, 6), torch.randn(200, 6)


def test_nearest_finds_what_a_full_search_finds() -> None:
    train, test, _ = sets()
    distance, index = nearest(test.view(200, 2, 3), train.view(400, 2, 3), block=64)
    expected = torch.cdist(test.double(), train.double()).min(dim=1)
    assert torch.equal(index, expected.indices)
    torch.testing.assert_close(distance, expected.values, rtol=1e-5, atol=1e-6)


def test_copies_are_exactly_zero_away_and_flagged() -> None:
    train, test, _ = sets()
    fresh, copied = nearest(test, train)[0], nearest(train[:200], train)[0]
    assert copied.max() == 0
    value, low, high = distance_ratio(copied, fresh)
    assert (value, low, high) == (0, 0, 0)
    assert copies(high)
    assert closer(copied, fresh) == 1.0


def test_fresh_samples_are_original_and_noise_is_far() -> None:
    train, test, more = sets()
    fresh, other = nearest(test, train)[0], nearest(more, train)[0]
    value, low, high = distance_ratio(other, fresh)
    assert low < 1 < high
    assert value == pytest.approx(1, abs=0.15)
    assert not copies(high)
    assert closer(other, fresh) == pytest.approx(0.5, abs=0.1)
    far = nearest(4 * more, train)[0]
    assert distance_ratio(far, fresh)[1] > 2
    assert closer(far, fresh) < 0.1


def test_ties_count_half() -> None:
    assert closer(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])) == pytest.approx((0.5 + 1 + 0 + 1) / 4)


def test_a_little_noise_on_training_examples_is_caught() -> None:
    train, test, more = sets()
    ratio = distance_ratio(nearest(train[:200] + 0.1 * more, train)[0], nearest(test, train)[0])
    assert copies(ratio[2])
