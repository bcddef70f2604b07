"""Modes of toys with known centres, and classes that are asked for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from exnihilo.core import NOTHING, GenerativeModel
from exnihilo.data import load_data
from exnihilo.data.toy import CENTRES
from exnihilo.evaluation import Reference, evaluate
from exnihilo.evaluation.baselines import real_data
from exnihilo.evaluation.modes import conditional_accuracy, mode_values, modes_covered
from exnihilo.evaluation.value import Value

CROSS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_modes_are_counted_from_20_of_2500_samples_within_three_deviations() -> None:
    points = CROSS[0].repeat(2500, 1)
    points[:20] = CROSS[1]
    points[20:39] = CROSS[2]  # one too few
    points[39:139] = CROSS[3] + torch.tensor([0.31, 0.0])  # just outside
    assert modes_covered(points, CROSS, 0.1) == (2, pytest.approx(2400 / 2500))
    assert modes_covered(points, CROSS, 0.11)[0] == 3
    assert modes_covered(torch.full((50, 2), 9.0), CROSS, 0.1) == (0, 0.0)


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_real_examples_cover_every_mode(name: str) -> None:
    data = load_data(name, n=4000, noise=0.1)
    values = mode_values(data.first().x, data, "test")
    assert values["modes_covered"].value == len(CENTRES[name])
    assert values["high_quality"].value == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert values["high_quality"].low < 1 - math.exp(-4.5) < values["high_quality"].high
    assert mode_values(data.first().x, load_data("moons", n=200), "test") == {}


class OfClasses(GenerativeModel):
    """Training examples of the class that is asked for; every third time of the next class instead."""

    labelled = True

    def __init__(self, data, wrong: bool = False):
        super().__init__()
        self.spec, self.recipe, self.options, self.wrong = data.spec, "of_classes", {}, wrong
        self.weight = nn.Parameter(torch.zeros(1))
        self.train_part = data.split("train").first()

    def draw(self, noise, asked=NOTHING):
        label = (asked.label + 1) % self.spec.classes if self.wrong else asked.label
        chance = noise.uniform(1)[:, 0]
        rows = [(self.train_part.label == c).nonzero()[:, 0] for c in range(self.spec.classes)]
        return torch.stack(
            [self.train_part.x[rows[c][int(u * len(rows[c]))]] for c, u in zip(label.tolist(), chance, strict=True)]
        )


def test_samples_of_the_class_asked_for(digits) -> None:
    reference = Reference.of(digits, n=50)
    value: Value = conditional_accuracy(OfClasses(digits), reference)["conditional_accuracy"]
    assert value.value > 0.95
    assert value.n == 500
    assert "by the classifier" in value.protocol
    assert conditional_accuracy(OfClasses(digits, wrong=True), reference)["conditional_accuracy"].value < 0.05
    unlabelled = OfClasses(digits)
    unlabelled.labelled = False
    assert conditional_accuracy(unlabelled, reference) == {}


def test_without_a_classifier_the_nearest_training_example_judges(monkeypatch) -> None:
    monkeypatch.setattr("exnihilo.evaluation.extractors.STEPS", 5)
    data = load_data("ring8", n=600)
    result = evaluate(OfClasses(data), data, n=100)
    assert result["conditional_accuracy"].value == 1.0
    assert "nearest training example" in result["conditional_accuracy"].protocol
    assert result["modes_covered"].value == 8
    assert result["modes_covered"].notes == ("of 8",)
    assert real_data(Reference.of(data, n=100))["modes_covered"].value == 8
