from __future__ import annotations

import pytest

from exnihilo.core import DataError, ExnihiloError, ModelError, OptionError, RunError, TrainingError, Unsupported
from exnihilo.core.errors import did_you_mean, listing


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("wgan-pg", " Did you mean 'wgan_gp'?"),
        ("WGAN_GP", " Did you mean 'wgan_gp'?"),
        ("ddmp", " Did you mean 'ddpm'?"),
        ("xyzzy", ""),
    ],
)
def test_the_nearest_name_is_offered_and_no_far_one(word: str, answer: str) -> None:
    assert did_you_mean(word, ["wgan_gp", "ddpm", "vae"]) == answer


def test_the_nearest_name_keeps_its_own_spelling() -> None:
    assert did_you_mean("sepal-lenght", ["Sepal-Length", "petal width"]) == " Did you mean 'Sepal-Length'?"


def test_a_list_of_nothing_says_so() -> None:
    assert listing([]) == "(none)"
    assert listing(["a", 2]) == "a, 2"


def test_all_mistakes_of_the_user_are_of_one_kind() -> None:
    for kind in (DataError, ModelError, OptionError, RunError, TrainingError, Unsupported):
        assert issubclass(kind, ExnihiloError)
