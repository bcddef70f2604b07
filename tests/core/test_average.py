from __future__ import annotations

import pytest
import torch
from torch import nn

from exnihilo.core import PowerAverage


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(1))


def averaged(values: list[float], gamma: float = 6.94) -> PowerAverage:
    module = Holder()
    average = PowerAverage(module, gamma)
    for value in values:
        module.weight.data.fill_(value)
        average.update()
    return average


def test_the_average_is_the_recursion_of_the_paper() -> None:
    values = [1.0, 4.0, -2.0, 0.5]
    expected = 0.0
    for t, value in enumerate(values, 1):
        beta = (1 - 1 / t) ** 7.94
        expected = beta * expected + (1 - beta) * value
    assert averaged(values).weights["weight"].item() == pytest.approx(expected, rel=1e-12)


def test_weights_of_the_past_follow_a_power_law_whose_width_is_a_tenth_of_the_run() -> None:
    """The profile is t^gamma: mean (gamma + 1)/(gamma + 2), and a standard deviation of 0.1 of the run's length."""
    rounds = 2000
    times = [t / rounds for t in range(1, rounds + 1)]
    mean = averaged(times).weights["weight"].item()
    square = averaged([t * t for t in times]).weights["weight"].item()
    assert mean == pytest.approx(7.94 / 8.94, rel=2e-3)
    assert (square - mean**2) ** 0.5 == pytest.approx(0.1, rel=0.02)


def test_the_first_round_forgets_the_initial_weights() -> None:
    assert averaged([5.0]).weights["weight"].item() == 5.0


def test_swapping_twice_changes_nothing_and_once_exchanges() -> None:
    module = Holder()
    average = PowerAverage(module)
    module.weight.data.fill_(3.0)
    average.swap()
    assert module.weight.item() == 0.0
    average.swap()
    assert module.weight.item() == 3.0
    assert average.weights["weight"].item() == 0.0


def test_a_restart_begins_from_the_model() -> None:
    module = Holder()
    average = PowerAverage(module)
    average.update()
    module.weight.data.fill_(2.0)
    average.restart(module)
    assert average.rounds == 0
    assert average.weights["weight"].item() == 2.0


def test_buffers_are_not_averaged() -> None:
    assert set(averaged([1.0]).weights) == {"weight"}
