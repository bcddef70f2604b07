from __future__ import annotations

import pytest
import torch

from exnihilo.core import seeded
from exnihilo.evaluation.memorisation import closer, copies, distance_ratio, nearest, preference


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
    assert copies(high, 0.0)
    assert closer(copied, fresh) == 1.0


def test_fresh_samples_are_original_and_noise_is_far() -> None:
    train, test, more = sets()
    fresh, other = nearest(test, train)[0], nearest(more, train)[0]
    value, low, high = distance_ratio(other, fresh)
    assert low < 1 < high
    assert value == pytest.approx(1, abs=0.15)
    assert not copies(high, 0.0)
    assert closer(other, fresh) == pytest.approx(0.5, abs=0.1)
    far = nearest(4 * more, train)[0]
    assert distance_ratio(far, fresh)[1] > 2
    assert closer(far, fresh) < 0.1


def test_ties_count_half() -> None:
    assert closer(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])) == pytest.approx((0.5 + 1 + 0 + 1) / 4)


def test_a_little_noise_on_training_examples_is_caught() -> None:
    train, test, more = sets()
    samples, fresh = train[:200] + 0.1 * more, nearest(test, train)[0]
    ratio = distance_ratio(nearest(samples, train)[0], fresh)
    assert copies(ratio[2], prefers(samples, train, test))


def prefers(samples: torch.Tensor, train: torch.Tensor, test: torch.Tensor) -> float:
    mine = preference(nearest(samples, train)[0], nearest(samples, test)[0])
    fresh = preference(nearest(test, train)[0], nearest(test, test, others=True)[0])
    return distance_ratio(mine, fresh)[2]


def test_blurred_samples_are_near_to_everything_and_no_copies() -> None:
    train, test, more = sets()
    blurred = 0.05 * more
    ratio = distance_ratio(nearest(blurred, train)[0], nearest(test, train)[0])[2]
    assert ratio < 0.9  # the distance to the training examples alone would accuse them
    assert not copies(ratio, prefers(blurred, train, test))


def test_others_leave_a_point_itself_out() -> None:
    points, _, _ = sets()
    distance, index = nearest(points, points, block=64, others=True)
    assert distance.min() > 0
    assert (index != torch.arange(len(points))).all()


def test_preference_of_equal_points() -> None:
    seen, unseen = torch.tensor([0.0, 0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 0.0, 4.0])
    assert preference(seen.double(), unseen.double()).tolist() == [1.0, 0.0, 1e6, 0.5]
