from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, spearmanr
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import average_precision_score, roc_auc_score

import exnihilo.models  # noqa: F401
from exnihilo.core import DataError, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.tasks import (
    Rareness,
    Scorer,
    auroc,
    average_precision,
    detect,
    rows_of_table,
    scores_of,
    without_classes,
)
from exnihilo.training import train
from tests.core.models import CLASSES, Bells


def trained(name, data, steps=1, **options):
    return train(create(name, data, **options), data, steps=steps, threads=1, progress=False).model


def some(seed, n, shift=0.0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).double() + shift


@pytest.fixture(scope="module")
def odd_points():
    """A thin disc of normal points in space, and anomalies off it."""
    rng = np.random.default_rng(0)
    normal = np.concatenate([rng.normal(size=(600, 2)), 0.1 * rng.normal(size=(600, 1))], axis=1)
    odd = np.concatenate(
        [rng.normal(size=(60, 2)), rng.choice([-1, 1], size=(60, 1)) * rng.uniform(0.6, 2, (60, 1))], 1
    )
    mix = rng.normal(size=(3, 3))
    return load_data((np.concatenate([normal, odd]) @ mix, ["fine"] * 600 + ["odd"] * 60))


# -- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_the_figures_are_scikit_learns(ties):
    normal, odd = some(0, 300), some(1, 40, 1.0)
    if ties:
        normal, odd = normal.round(), odd.round()
    truth = np.r_[np.zeros(300), np.ones(40)]
    every = torch.cat([normal, odd]).numpy()
    area, precision = auroc(normal, odd, "p"), average_precision(normal, odd, "p")
    assert area.value == pytest.approx(roc_auc_score(truth, every), abs=1e-12)
    assert precision.value == pytest.approx(average_precision_score(truth, every), abs=1e-12)
    assert area.low < area.value < area.high
    assert precision.low < precision.value < precision.high


def test_known_areas():
    """Phi(d / sqrt 2) for two Gaussians d apart; 1 in perfect order, with an interval; 1/2 for equal scores."""
    area = auroc(some(2, 20_000), some(3, 20_000, 1.0), "p")
    assert area.low < 0.760250 < area.high
    assert area.high - area.low < 0.02
    perfect = auroc(some(4, 30), some(5, 30, 100.0), "p")
    assert (perfect.value, perfect.high) == (1.0, pytest.approx(1.0))
    assert 0.85 < perfect.low < 0.99
    assert auroc(torch.ones(5), torch.ones(7), "p").value == 0.5
    assert auroc(some(4, 5), torch.tensor([torch.inf, 9.0]), "p").value == 1.0


def test_the_interval_covers_as_often_as_it_says():
    truth, hits = 0.760250, 0
    for seed in range(300):
        value = auroc(some(2 * seed, 40), some(2 * seed + 1, 25, 1.0), "p")
        hits += value.low <= truth <= value.high
    assert 0.91 <= hits / 300 <= 0.99


# -- rareness --------------------------------------------------------------------------------------------------------


def test_rareness_counts_held_out_scores():
    rareness = Rareness.of(torch.arange(9.0))
    assert rareness.share(torch.tensor([-1.0, 0.0, 4.0, 8.0, 9.0])).tolist() == [1.0, 1.0, 0.6, 0.2, 0.1]
    assert rareness.words(4.0) == "1 in 1.67"
    assert rareness.words(8.5) == "rarer than 1 in 10"
    assert rareness.words(float("inf")) == "rarer than 1 in 10"


def test_rareness_is_uniform_on_normal_examples():
    rareness = Rareness.of(some(0, 5000))
    assert kstest(rareness.share(some(1, 1000)).numpy(), "uniform").pvalue > 0.05
    assert kstest(rareness.share(some(1, 1000, 0.3)).numpy(), "uniform").pvalue < 1e-6


@pytest.mark.parametrize("rate", [0.3, 0.1, 0.05, 0.01])
def test_what_is_flagged_is_what_is_rare_enough(rate):
    rareness, scores = Rareness.of(some(0, 99).round(decimals=1)), some(1, 4000).round(decimals=1)
    threshold, promised = rareness.threshold(rate)
    assert promised <= rate + 1e-12
    assert torch.equal(scores > threshold, rareness.share(scores) <= rate + 1e-12)


def test_the_promised_rate_holds_on_average():
    rates = []
    for seed in range(300):
        threshold, promised = Rareness.of(some(2 * seed, 39)).threshold(0.1)
        rates.append(float((some(2 * seed + 1, 200) > threshold).double().mean()))
    assert promised == 0.1
    assert np.mean(rates) == pytest.approx(0.1, abs=0.01)


def test_a_rate_that_few_examples_cannot_promise():
    assert Rareness.of(torch.arange(9.0)).threshold(0.01) == (8.0, 0.1)
    with pytest.raises(OptionError, match="false_alarms=0 is"):
        Rareness.of(torch.arange(9.0)).threshold(0)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_a_gaussian_ranks_like_mahalanobis(odd_points):
    normal = without_classes(odd_points, "odd")
    model = trained("gmm", normal, components=1)
    x = normal.spec.encode(odd_points.spec.decode(odd_points.first().x))
    distance = EmpiricalCovariance().fit(normal.split("train").first().x.double()).mahalanobis(x.double())
    assert spearmanr(detect(model, normal, rows=x).scores, distance).statistic > 0.9999


def test_scores_go_by_what_a_model_can_do(odd_points):
    expected = {
        "gmm": ["density", "energy"],
        "vae": ["bound", "reconstruction", "projection"],
        "pca": ["reconstruction"],
        "gan": ["projection"],
    }
    for name, scores in expected.items():
        assert scores_of(create(name, odd_points)) == scores
    model = create("pca", odd_points, latent=2)
    with pytest.raises(Unsupported, match=r"pca has no density to score by.*Its scores: reconstruction"):
        detect(model, odd_points, score="density")
    with pytest.raises(OptionError, match=r"score=bond is not allowed. Did you mean 'bound'"):
        detect(model, odd_points, score="bond")


def test_labels_stay_unknown_to_the_score():
    """log p(x) = log sum_c share_c p(x | c), whatever the class of x."""
    model = Bells(2)
    model.spec, model.recipe = CLASSES, "bells"
    x = torch.tensor([[0.0, 0.0], [2.0, 1.0]])
    parts = torch.stack(
        [model.log_prob(x, label=torch.tensor([c, c])) + np.log(CLASSES.class_shares[c]) for c in range(3)]
    )
    torch.testing.assert_close(Scorer(model, "density")(x)[0], -parts.logsumexp(dim=0).double())


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("gmm", {"components": 1}, 1),
        ("kde", {}, 1),
        ("pca", {"latent": 2}, 1),
        ("vae", {"width": 32, "latent": 2}, 300),
    ],
)
def test_planted_anomalies_are_found(odd_points, name, options, steps):
    model = trained(name, without_classes(odd_points, "odd"), steps, **options)
    detected = detect(model, odd_points, anomalous="odd", false_alarms=0.05)
    row = detected.judged[f"{name} ({detected.score})"]
    least = 0.7 if name == "vae" else 0.95  # which learnt for a moment
    assert row["AUROC"].value > least
    assert row["caught"].value > least - 0.4
    assert row["false alarms"].value < 0.15
    assert list(detected.judged.rows)[1:] == ["isolation forest", "local outlier factor", "PCA"]
    assert detected.flagged[torch.argmax(detected.scores)]
    assert row["AUROC"].value == pytest.approx(roc_auc_score(detected.anomalous, detected.scores))


def test_a_generator_scores_by_projection(odd_points):
    """A GAN whose generator is the disc itself: what lies off it cannot be decoded."""
    normal = without_classes(odd_points, "odd")
    model = create("gan", normal, latent=2)
    axes = torch.linalg.svd(normal.split("train").first().x, full_matrices=False).Vh[:2]
    model.generator = torch.nn.Linear(2, 3, bias=False)
    model.generator.weight.data = axes.T * 2
    detected = detect(model, odd_points, anomalous="odd", limit=100)
    assert detected.score == "projection"
    assert detected.judged["gan (projection)"]["AUROC"].value > 0.95
    assert detected.rebuilt is not None


def test_what_restores_everything_is_refused(odd_points):
    with pytest.raises(Unsupported, match="pca restores whatever it is given"):
        detect(trained("pca", odd_points, latent=3), odd_points)


def test_other_data_may_be_the_anomalies(odd_points):
    normal = without_classes(odd_points, "odd")
    model = trained("gmm", normal, components=1)
    far = load_data(np.random.default_rng(1).normal(20, 1, size=(30, 3)))
    detected = detect(model, normal, anomalies=far)
    assert detected.judged["gmm (density)"]["AUROC"].value == 1.0
    assert int(detected.anomalous.sum()) == 30
    with pytest.raises(OptionError, match="not both"):
        detect(model, odd_points, anomalies=far, anomalous="odd")


def test_a_model_that_saw_the_anomalies_is_refused(odd_points):
    with pytest.raises(DataError, match=r"trained on examples of odd.*-d without=odd"):
        detect(trained("gmm", odd_points, components=1), odd_points, anomalous="odd")


# -- what is left behind ---------------------------------------------------------------------------------------------


def test_rows_are_told_apart_and_columns_blamed(tmp_path):
    rng = np.random.default_rng(0)
    height = rng.normal(size=400)
    frame = pd.DataFrame(
        {"height": height, "weight": 2 * height + 0.05 * rng.normal(size=400), "age": rng.normal(size=400)}
    )
    data = load_data(frame)
    model = trained("pca", data, latent=2)
    rows = frame[:5].copy()
    rows.loc[3, "weight"] += 6.0
    x = rows_of_table(model.spec, rows)
    torch.testing.assert_close(x[:3], data.spec.encode(frame)[:3])
    detected = detect(model, data, rows=x)
    assert detected.judged is None
    assert detected.top(1) == [3]
    table = detected.table()
    assert table.loc[3, ["beyond", "flagged"]].tolist() == [1, 1]
    assert table.loc[3, "one_in"] == pytest.approx(detected.rareness.n + 1)
    assert "age" not in table.loc[3, "mostly"]
    paths = detected.save(tmp_path / "found")
    assert [path.name for path in paths] == ["scores.csv", "scores.png"]
    back = pd.read_csv(paths[0])
    assert back["row"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(back["score"], detected.scores, rtol=1e-5)
    with pytest.raises(DataError, match=r"ends in \.csv or \.png"):
        detected.save(tmp_path / "found.txt")
    with pytest.raises(DataError, match=r"Rows of shape \(2,\) do not fit"):
        detect(model, data, rows=x[:, :2])


def test_gaps_are_read_where_training_knew_some():
    frame = pd.DataFrame({"a": np.arange(40.0) ** 1.5, "b": ["x", "y"] * 20, "c": np.arange(40.0) * 1.5})
    frame.loc[3, "a"], frame.loc[4, "b"] = np.nan, None
    data = load_data(frame)
    torch.testing.assert_close(rows_of_table(data.spec, frame), data.spec.encode(frame))
    frame.loc[7, "c"] = np.nan
    with pytest.raises(DataError, match=r"Column 'c', row 7: a missing value.*exnihilo impute"):
        rows_of_table(data.spec, frame)


def test_pictures_show_residuals(tmp_path):
    data = load_data("digits")
    normal = without_classes(data, "7")
    model = trained("ppca", normal, latent=10)
    detected = detect(model, data, anomalous="7", limit=60)
    assert {path.name for path in detected.save(tmp_path)} == {"scores.csv", "scores.png", "examples.png"}
    assert detected.judged[f"ppca ({detected.score})"]["AUROC"].value > 0.75
    test = data.split("test")
    assert set(detected.row[~detected.anomalous].tolist()) <= set(test.places.tolist())
    again = detect(model, data, anomalous="7", limit=60)
    assert torch.equal(detected.scores, again.scores)
