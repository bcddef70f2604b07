from __future__ import annotations

import pytest

from exnihilo.training.budget import is_mark


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
