"""Dataset: a batch is a function of (seed, k); views share the examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exnihilo.core import Batch, Data, DataError, DataSpec
from exnihilo.data import Dataset, load_data
from exnihilo.data.dataset import InMemory, assemble
from exnihilo.data.splits import deal


def numbered(n: int = 50) -> Dataset:
    """Example i is the vector (i, i)."""
    x = torch.arange(n).float()[:, None].expand(n, 2)
    spec = DataSpec("vector", (2,), classes=2, class_names=("even", "odd"))
    return assemble(spec, InMemory(x), deal([str(i) for i in range(n)]), label=torch.arange(n) % 2)


def test_it_is_what_core_asks_for() -> None:
    data = numbered()
    assert isinstance(data, Data)
    assert len(data) == 50
    assert data.spec.examples == len(data.split("train")) == data.counts()["train"] == 36
    assert sum(data.spec.class_shares) == pytest.approx(1)


def test_a_batch_is_a_function_of_seed_and_place() -> None:
    one, other = numbered().split("train"), numbered().split("train")
    for k in (5, 0, 3):
        assert torch.equal(one.batch(k, 8, 1).x, other.batch(k, 8, 1).x)
    assert not torch.equal(one.batch(0, 8, 1).x, one.batch(0, 8, 2).x)
    assert not torch.equal(one.batch(0, 8, 1).x, one.batch(1, 8, 1).x)


def test_a_pass_shows_every_example_once() -> None:
    train = numbered().split("train")  # 36 examples, batches of 8: passes end inside a batch
    stream = torch.cat([train.batch(k, 8, 0).index for k in range(18)])  # four passes
    for number in range(4):
        assert sorted(stream[36 * number : 36 * (number + 1)].tolist()) == list(range(36))
    assert stream[:36].tolist() != stream[36:72].tolist()


def test_a_batch_may_be_larger_than_the_data() -> None:
    train = numbered().split("train")
    big = train.batch(1, 100, 0)
    assert len(big) == 100
    small = torch.cat([train.batch(k, 10, 0).index for k in range(10, 20)])
    assert torch.equal(big.index, small)


def test_everything_of_an_example_stays_together() -> None:
    data = numbered()
    for part in ("train", "validation", "test"):
        view = data.split(part)
        batch = view.batch(2, 16, 3)
        assert batch.label is not None
        assert batch.index is not None
        assert torch.equal(batch.x[:, 0] % 2, batch.label.float())
        assert torch.equal(view.first().x[batch.index], batch.x)


def test_splits_are_disjoint_and_complete() -> None:
    data = numbered()
    shown = torch.cat([data.split(part).first().x[:, 0] for part in ("train", "validation", "test")])
    assert sorted(shown.tolist()) == list(range(50))
    assert torch.equal(data.split("train").split("train").first().x, data.split("train").first().x)
    with pytest.raises(DataError, match="The test split is empty"):
        data.split("train").split("test")
    with pytest.raises(DataError, match=r"no split 'trian'. Did you mean 'train'\?"):
        data.split("trian")


def test_first_is_in_fixed_order() -> None:
    data = numbered()
    assert data.first(3).x[:, 0].tolist() == [0, 1, 2]
    assert len(data.first()) == len(data.first(99)) == 50


def test_weights_draw_in_proportion() -> None:
    train = numbered().split("train")
    weights = torch.zeros(36)
    weights[3], weights[10] = 1.0, 3.0
    drawn = train.weighted(weights).batch(0, 4000, 0)
    assert drawn.index is not None
    counts = torch.bincount(drawn.index, minlength=36)
    assert counts.nonzero()[:, 0].tolist() == [3, 10]
    assert counts[10] / 4000 == pytest.approx(0.75, abs=0.03)
    again = train.weighted(weights).batch(0, 4000, 0)
    assert again.index is not None
    assert torch.equal(again.index, drawn.index)
    assert len(train.weighted(weights).first()) == 36


@pytest.mark.parametrize("weights", [torch.ones(3), -torch.ones(36), torch.zeros(36), torch.full((36,), torch.nan)])
def test_bad_weights_are_refused(weights: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"[Ww]eights"):
        numbered().split("train").weighted(weights)


def test_map_changes_batches_and_views_combine() -> None:
    data = numbered().map(lambda batch: batch.replace(x=batch.x + 100))
    assert data.split("train").first(1).x[0, 0] >= 100
    doubled = data.map(lambda batch: Batch(batch.x * 2)).split("test")
    assert doubled.first().x.min() >= 200
    assert doubled.first().label is None
    weighted = numbered().weighted(torch.arange(50)).split("train")
    assert weighted.weights is not None
    assert torch.equal(weighted.weights, weighted.places.double())


def test_the_callers_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    data = load_data("moons", n=200)
    data.split("train").batch(0, 64, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_the_fingerprint_is_of_the_content() -> None:
    x = np.random.default_rng(0).random((40, 3))
    same, other = load_data(x.copy()), load_data(x + np.eye(40, 3))
    assert load_data(x).fingerprint == same.fingerprint
    assert other.fingerprint != same.fingerprint
    assert load_data((x, np.arange(40) % 2)).fingerprint != same.fingerprint


def test_repeated_examples_are_counted() -> None:
    x = np.random.default_rng(0).random((100, 3))
    x[50:] = x[:50]
    notes = load_data(x).notes
    assert any(note.startswith("Examples that repeat another one exactly: 50.") for note in notes)
    assert not any("repeat" in note for note in load_data(x[:50]).notes)


def test_small_data_come_with_a_warning() -> None:
    x = np.random.default_rng(0).random((199, 3))
    assert "Only 199 examples, 40 of them to test on" in load_data(x).warnings[0]
    assert load_data(np.vstack([x, x[:1] + 1])).warnings == []


def test_some_examples_are_spread_over_sorted_data() -> None:
    x = np.arange(1000, dtype=np.float32)[:, None].repeat(2, axis=1)
    data = load_data(x).split("train")
    some = data.spread(10)
    whole = data.first()
    assert torch.equal(some.x[0], whole.x[0])
    assert float(some.x.mean()) == pytest.approx(float(whole.x.mean()), abs=0.2)
    assert torch.equal(data.spread(10**6).x, whole.x)
