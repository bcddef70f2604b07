from __future__ import annotations

import pytest

from exnihilo.training.budget import Budget, is_mark
from exnihilo.training.state import Place


@pytest.mark.parametrize(
    ("rounds", "first"),
    [
        (None, [16, 32, 64, 128, 256, 512, 1024, 2048]),
        (6, [1, 2, 3, 4, 5, 6]),
        (101, [2, 4, 6, 8, 10, 12, 14, 16]),
        (5000, [16, 32, 64, 100, 200, 300, 400, 500]),
        (100_000, [16, 32, 64, 128, 256, 500, 1000, 1500]),
    ],
)
def test_marks_are_even_and_before_the_first_of_them_doubling(rounds: int | None, first: list[int]) -> None:
    assert [done for done in range(1, 3000) if is_mark(done, rounds)][: len(first)] == first


def test_the_last_round_is_a_mark() -> None:
    assert is_mark(101, 101)
    assert is_mark(4999, 4999)


@pytest.mark.parametrize(
    ("look", "rounds"),
    [
        (0.0, 1475),  # of 93.5 s that are left five are kept back; a round takes 0.06
        (0.1, 1475),  # fifty looks are those five
        (0.5, 1141),  # 25 s
        (3.0, 779),  # longer than the budget: half of what is left
    ],
)
def test_looks_that_are_dear_have_their_time_in_the_plan(look: float, rounds: int) -> None:
    place = Place(rounds=[None], round=103, warm_up=0.5, stage_seconds=6.5, look=look)
    budget = Budget(seconds=100.0)
    budget.shares = [1.0]
    budget.measure(place)
    assert place.rounds == [pytest.approx(103 + rounds, abs=1)]
