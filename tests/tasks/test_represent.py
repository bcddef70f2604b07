from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from exnihilo.core import DataError, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.tasks import initialise, represent
from exnihilo.tasks.judged import ratio_value, share_value
from exnihilo.training import train


def trained(name, data, steps=30, **options):
    return train(create(name, data, **options), data, steps=steps, threads=1, progress=False).model


def test_accuracies_are_scikit_learns_and_pca_equals_itself(points):
    model = trained("pca", points, latent=2)
    judged = represent(model, points, labels=(3, None), draws=4)
    codes, raw, pca = judged.rows.values()
    inside, outside = (points.split(name).first() for name in ("train", "test"))
    scaler = StandardScaler().fit(inside.x.double().numpy())
    solver = LogisticRegression(max_iter=300).fit(scaler.transform(inside.x.double().numpy()), inside.label.numpy())
    expected = solver.score(scaler.transform(outside.x.double().numpy()), outside.label.numpy())
    key = f"all {len(inside)} labels"
    assert raw[key].value == pytest.approx(expected)
    assert codes[key].value == pytest.approx(pca[key].value, abs=0.02)
    assert raw["3 labels per class"].value <= raw[key].value + 0.05
    assert "mean of 4 draws" in raw["3 labels per class"].notes[0]
    assert raw[key].low < raw[key].value < raw[key].high


def test_equal_seeds_choose_equal_labels(points):
    model = trained("pca", points, latent=2)
    first, again, other = (represent(model, points, labels=(2,), seed=seed).to_json() for seed in (0, 0, 1))
    assert first == again
    assert first["rows"] != other["rows"]


def test_an_encoder_is_a_start_and_the_given_model_stays(points):
    model = trained("autoencoder", points, width=16, latent=2, steps=200)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    judged = initialise(model, points, labels=5, steps=300, draws=1)
    assert list(judged.rows) == ["from the encoder", "from scratch"]
    for row in judged.rows.values():
        assert row["5 labels per class"].value > 0.7
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


def test_only_the_told_labels_are_seen(points):
    """Wrong labels outside the few that are told change nothing."""
    model = trained("autoencoder", points, width=8, latent=2)
    from exnihilo.tasks.represent import CodeClassifier, classifier_from

    weights = torch.zeros(len(points.split("train")), dtype=torch.float64)
    weights[[0, 3, 5, 9]] = 1.0

    def spoilt(batch):
        told = torch.isin(batch.index, torch.tensor([0, 3, 5, 9]))
        return batch.replace(label=torch.where(told, batch.label, 1 - batch.label))

    one = classifier_from(model, points, weights, 10, 1e-3, 0)
    two = classifier_from(model, points.map(spoilt), weights, 10, 1e-3, 0)
    assert isinstance(one, CodeClassifier)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_mistakes_are_told(points):
    with pytest.raises(Unsupported, match="gmm cannot encode"):
        represent(create("gmm", points), points)
    blind = load_data(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(DataError, match=r"has no labels.*-d label=COLUMN"):
        represent(create("pca", blind, latent=2), blind)
    with pytest.raises(OptionError, match="labels=-1 is not allowed"):
        represent(create("pca", points, latent=2), points, labels=(-1,))
    notes = represent(trained("pca", points, latent=2), points, labels=(1000,), draws=1).notes
    assert "the smallest class has" in notes[0]


def test_an_encoder_that_passes_no_gradient_is_refused(points):
    model = trained("pca", points, latent=2)
    with pytest.raises(Unsupported, match="pass no gradient"):
        initialise(model, points, labels=2, steps=2)


def test_intervals():
    right = torch.tensor([[True] * 8 + [False] * 2, [True] * 6 + [False] * 4])
    value = share_value(right, "p")
    alone = share_value(right[0], "p")
    assert value.value == pytest.approx(0.7)
    assert alone.value == pytest.approx(0.8)
    assert (alone.low, alone.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert value.high - value.low > share_value(torch.tensor([True] * 7 + [False] * 3), "p").high - 0.3968
    draws = torch.randn(4000, generator=torch.Generator().manual_seed(0)).double()
    mean = ratio_value(draws + 5, torch.ones(4000).double(), "p")
    assert mean.high - mean.low == pytest.approx(2 * 1.96 / 4000**0.5, rel=0.05)
