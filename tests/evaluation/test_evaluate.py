from __future__ import annotations

import json

import pytest
import torch

from exnihilo.core import DataError, TrainingError, create
from exnihilo.data import Dataset, load_data
from exnihilo.evaluation import ProtocolMismatch, Reference, Result, Value, evaluate
from exnihilo.evaluation.baselines import UniformNoise, real_data
from exnihilo.evaluation.speed import network_evaluations, numbers
from exnihilo.evaluation.value import exactly, statistically_best
from exnihilo.training import train
from tests.evaluation.models import Known, Stepwise


@pytest.fixture(scope="module")
def reference(digits: Dataset) -> Reference:
    return Reference.of(digits, n=400)


def test_copies_of_the_training_set_look_good_and_are_flagged(digits: Dataset, reference: Reference) -> None:
    result = evaluate(Known(digits.spec, reference.train.x), digits, reference=reference)
    assert result["ratio"].value < 3
    assert result["distance_ratio"].value == 0
    assert result.copies
    assert any("copies" in note for note in result.notes)


def test_fresh_data_look_good_and_are_not_flagged(digits: Dataset, reference: Reference) -> None:
    fresh = digits.split("validation").first().x
    result = evaluate(Known(digits.spec, fresh), digits, reference=reference)
    assert result["ratio"].value < 5
    assert not result.copies
    assert result["modes"].value == 10


def test_a_collapsed_model_is_precise_not_diverse_and_reaches_one_class(digits: Dataset, reference: Reference) -> None:
    one = digits.split("test").first().x[5:6]
    result = evaluate(Known(digits.spec, one), digits, reference=reference)
    assert result["precision"].value == 1
    assert result["recall"].value < 0.01
    assert result["modes"].value == 1
    assert result["ratio"].value > 20


def test_noise_is_the_ceiling_and_real_data_the_floor(digits: Dataset, reference: Reference) -> None:
    noise = evaluate(UniformNoise(digits.spec, reference.train), digits, reference=reference)
    real = real_data(reference)
    assert noise["ratio"].value > 50
    assert real["ratio"].value == pytest.approx(1.0)
    assert real["precision"].low < 1
    assert noise["precision"].differs_from(real["precision"])


def test_intervals_hold_the_value_and_results_survive_json(digits: Dataset, reference: Reference) -> None:
    result = evaluate(Known(digits.spec, digits.split("validation").first().x), digits, reference=reference)
    for value in result.values.values():
        assert value.low <= value.value <= value.high
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Result.from_json(record).values == result.values
    record["values"]["ratio"]["value"] = 1.0
    with pytest.raises(DataError, match="altered"):
        Result.from_json(record)


def test_figures_of_different_protocols_are_refused(digits: Dataset, reference: Reference) -> None:
    model = UniformNoise(digits.spec, reference.train)
    few = evaluate(model, digits, n=100)
    with pytest.raises(ProtocolMismatch, match="cannot be compared"):
        few["frechet"].differs_from(evaluate(model, digits, reference=reference)["frechet"])


def test_equal_seeds_give_equal_figures(digits: Dataset, reference: Reference) -> None:
    model = Known(digits.spec, digits.split("validation").first().x)
    pair = [evaluate(model, digits, reference=reference).values for _ in range(2)]
    for key, value in pair[0].items():
        if key != "samples_per_second":
            assert value == pair[1][key], key


def test_models_that_cannot_sample_get_their_reconstruction_error(digits: Dataset, reference: Reference) -> None:
    model = create("pca", digits, latent=32)
    train(model, digits, steps=1, progress=False)
    values = evaluate(model, digits, reference=reference).values
    assert "ratio" not in values
    assert 0 < values["reconstruction"].value < 0.03


def test_samples_that_are_not_finite_are_told(digits: Dataset, reference: Reference) -> None:
    broken = Known(digits.spec, torch.full((1, 1, 8, 8), torch.nan))
    with pytest.raises(TrainingError, match="100 samples are not finite"):
        evaluate(broken, digits, reference=reference)


def test_a_model_of_other_data_is_refused(digits: Dataset, iris: Dataset) -> None:
    with pytest.raises(DataError, match="was made for table data"):
        evaluate(Known(iris.spec, iris.first().x), digits)


def test_other_splits_and_counts_are_named(digits: Dataset) -> None:
    model = Known(digits.spec, digits.split("validation").first().x)
    result = evaluate(model, digits, split="train", n=50)
    assert "own training data" in result.notes[0]
    assert 0.5 < result["distance_ratio"].value < 2  # over the distance of examples that are new, also here
    assert "train n=1293" in result["frechet"].protocol
    with pytest.raises(DataError, match="no split 'tset'"):
        evaluate(model, digits, split="tset")
    with pytest.raises(DataError, match="too few"):
        evaluate(model, digits, n=2)


def test_network_evaluations_are_counted(iris: Dataset) -> None:
    spec = iris.spec
    assert network_evaluations(Stepwise(spec, 7)) == 7
    assert network_evaluations(Known(spec, iris.first().x)) is None
    size = spec.size
    assert numbers(Stepwise(spec, 1)) == size * 8 + 8 + 8 * size + size + 2
    assert numbers(Known(spec, torch.zeros(5, *spec.shape))) == 5 * size


def test_speed_is_what_the_clock_says(iris: Dataset) -> None:
    result = evaluate(Stepwise(iris.spec, 4, pause=0.02), iris, n=64)
    assert 64 / (4 * 0.02) * 0.5 < result["samples_per_second"].value <= 64 / (4 * 0.02)
    assert result["network_evaluations"].value == 4


def test_a_table_is_judged_too() -> None:
    data = load_data("iris")
    result = evaluate(Known(data.spec, data.split("train").first().x), data)
    assert result.copies
    assert "nats" in result.values


def test_only_differences_beyond_chance_win() -> None:
    values = {
        "a": Value(1.0, 0.5, 1.5, 10, "p"), "b": Value(1.4, 0.9, 1.9, 10, "p"), "c": Value(3.0, 2.9, 3.1, 10, "p"),
    }  # fmt: skip
    assert statistically_best(values, smaller=True) == ["a", "b"]
    assert statistically_best(values, smaller=False) == ["c"]
    assert statistically_best({"x": exactly(float("inf"), 1, "p")}, smaller=True) == []
