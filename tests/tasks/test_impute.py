from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from exnihilo.core import DataError, OptionError, Unsupported, create
from exnihilo.tasks import fill, impute, with_gaps
from exnihilo.tasks.baselines import Gaussian, neighbour_fill
from exnihilo.tasks.gaps import hide
from exnihilo.training import train


def trained(name, data, steps=60, **options):
    model = create(name, data, **options)
    return train(model, data, steps=steps, threads=1, progress=False).model


@pytest.fixture(scope="module")
def gaussian(points):
    return trained("gmm", points, components=1, ridge=1e-6)


# -- the Gaussian baseline -------------------------------------------------------------------------------------------


def log_density(model: Gaussian, x, seen):
    """Of what is seen, row by row."""
    total = 0.0
    for row, known in zip(x, seen, strict=True):
        inside = model.covariance[known][:, known]
        offset = row[known] - model.mean[known]
        total -= 0.5 * float(offset @ torch.linalg.solve(inside, offset) + torch.logdet(2 * math.pi * inside))
    return total


def test_each_sweep_of_the_gaussian_raises_the_likelihood_of_what_is_seen():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 4, generator=generator).double() @ torch.randn(4, 4, generator=generator).double() + 1
    seen = torch.rand(80, 4, generator=generator) > 0.3
    seen[:, 0] |= ~seen.any(dim=1)
    model = Gaussian(x, seen, sweeps=0)
    model.ridge = 0.0
    values = []
    for _ in range(12):
        model._improve(x, seen)
        values.append(log_density(model, x, seen))
    assert all(after >= before - 1e-9 for before, after in zip(values[:-1], values[1:], strict=True))
    assert values[-1] > values[0] + 1


def test_of_complete_rows_it_is_their_mean_and_covariance():
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    model = Gaussian(x, torch.ones(500, 3, dtype=torch.bool))
    torch.testing.assert_close(model.mean, x.mean(dim=0))
    expected = torch.cov(x.T, correction=0) + model.ridge * torch.eye(3)
    torch.testing.assert_close(model.covariance, expected.double())
    known = torch.tensor([[True, False, True]])
    row = torch.tensor([[1.0, 0.0, -2.0]]).double()
    pick = [0, 2]
    gain = torch.linalg.solve(expected[pick][:, pick], row[0, pick] - model.mean[pick])
    answer = model.mean[1] + expected[1, pick] @ gain
    assert model.fill(row, known)[0, 1].item() == pytest.approx(answer.item(), abs=1e-10)


def test_breast_cancer_half_missing_golden():
    """Gaussian 0.227 and mean 1.02 over three seeds (likelihood.md, section 9), filling the rows it was fitted on."""
    x = load_breast_cancer().data
    x = torch.from_numpy((x - x.mean(axis=0)) / x.std(axis=0))
    seen = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    seen[:, 0] |= ~seen.any(dim=1)
    error = (Gaussian(x, seen, sweeps=30).fill(x, seen) - x)[~seen].square().mean().item()
    assert 0.18 < error < 0.25
    near = (neighbour_fill(x, seen, x, seen) - x)[~seen].square().mean().item()
    assert error < near < 0.6


# -- filling ---------------------------------------------------------------------------------------------------------


def test_what_is_there_stays_and_what_is_hidden_does_not_matter(points, gaussian):
    x = points.split("test").first().x
    mask = hide(points.spec, torch.arange(len(x)))
    filled = fill(gaussian, x, mask, n=3, seed=1)
    assert filled.how == "impute"
    assert filled.draws.shape == (3, *x.shape)
    assert all(torch.equal(draw[mask], x[mask]) for draw in filled.draws)
    assert not torch.equal(filled.draws[0], filled.draws[1])
    other = torch.where(mask, x, 77.0)
    assert torch.equal(fill(gaussian, other, mask, n=3, seed=1).draws, filled.draws)
    assert not torch.equal(fill(gaussian, x, mask, n=3, seed=2).draws, filled.draws)


def test_the_mean_of_many_draws_is_the_conditional_mean(points, gaussian):
    x = points.split("test").first(20).x
    mask = hide(points.spec, torch.arange(20))
    train_x = points.split("train").first().x
    exact = Gaussian(train_x, torch.ones_like(train_x, dtype=torch.bool)).fill(x, mask)
    torch.testing.assert_close(fill(gaussian, x, mask, n=800).best(), exact, atol=0.15, rtol=0)


def test_models_that_only_reconstruct_settle_on_their_manifold(points):
    model = trained("pca", points, latent=2)
    x = points.split("test").first().x
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 3] = False
    filled = fill(model, x, mask, n=5)
    assert (filled.how, len(filled.draws)) == ("reconstruct", 1)
    answer = filled.best()
    torch.testing.assert_close(model.reconstruct(answer)[:, 3], answer[:, 3], atol=0.01, rtol=0)
    assert (answer - x)[:, 3].square().mean() < 0.1


def test_models_that_cannot_say_so(points):
    x = points.first(4).x
    mask = hide(points.spec, torch.arange(4))
    with pytest.raises(Unsupported, match=r"gan cannot fill gaps.*Models that can: .*gmm"):
        fill(create("gan", points, width=8), x, mask)
    with pytest.raises(Unsupported, match=r"realnvp cannot fill gaps: it restores whatever it is given"):
        fill(create("realnvp", points, width=8), x, mask)
    with pytest.raises(OptionError, match="n=0 is not allowed"):
        fill(create("gmm", points), x, mask, n=0)


# -- judging ---------------------------------------------------------------------------------------------------------


def test_judged_beside_what_it_has_to_beat(points, gaussian):
    judged = impute(gaussian, points, fraction=0.3, n=40)
    assert list(judged.rows) == ["gmm", "mean", "nearest rows", "Gaussian"]
    error = {name: row["error"].value for name, row in judged.rows.items()}
    assert error["mean"] == pytest.approx(1, abs=0.35)
    assert error["Gaussian"] < error["nearest rows"] < error["mean"]
    assert error["gmm"] == pytest.approx(error["Gaussian"], rel=0.2)
    covered = judged["gmm"]["covered"]
    assert covered.low < 0.9 + 0.05
    assert covered.high > 0.9 - 0.05
    assert "covered" not in judged["mean"]
    assert judged.to_json()["rows"]["gmm"]["error"]["n"] == len(points.split("test"))


def test_tables_are_judged_by_numbers_and_by_categories(table):
    judged = impute(trained("gmm", table, components=2), table, fraction=0.4, n=20)
    for row in judged.rows.values():
        assert {"error", "accuracy"} <= set(row)
    assert judged["nearest rows"]["accuracy"].value > judged["mean"]["accuracy"].value
    assert judged["gmm"]["accuracy"].value > judged["mean"]["accuracy"].value
    assert judged["gmm"]["error"].value < judged["mean"]["error"].value


def test_what_was_missing_from_the_start_is_not_judged(table):
    from exnihilo.data import load_data
    from tests.tasks.conftest import mixed_frame

    frame = mixed_frame().drop(columns=["id", "species"])
    frame.loc[frame.index % 3 == 0, "height"] = np.nan
    frame.loc[frame.index % 4 == 0, "colour"] = None
    data = load_data(frame)
    judged = impute(trained("gmm", data, components=1), data, fraction=0.5, n=3)
    assert np.isfinite(judged["gmm"]["error"].value)
    assert judged["Gaussian"]["error"].value < 1.2
    batch = data.first()
    filled = fill(trained("gmm", data, components=1), batch.x, batch.mask, n=5)
    decoded = data.spec.decode(filled.best())
    assert not decoded.isna().any().any(), "never filled with 'missing'"


def test_incomplete_training_is_judged_on_its_own_gaps(points):
    incomplete = with_gaps(points, fraction=0.3, seed=5)
    model = trained("miwae", incomplete, width=16, latent=2, k=5, drop=0.0)
    judged = impute(model, points, split="train", incomplete=True, fraction=0.3, n=2, limit=60, seed=5)
    assert judged["Gaussian"]["error"].value < judged["mean"]["error"].value
    assert judged["miwae"]["error"].n == 60


def test_a_column_without_any_value_is_named(table):
    import dataclasses

    mask = torch.ones(len(table), table.spec.size, dtype=torch.bool)
    column = table.spec.columns[0]
    mask[:, column.slice] = False
    data = dataclasses.replace(table, mask=mask)
    with pytest.raises(DataError, match="Column 'height': all values of the training split are missing"):
        impute(trained("gmm", table, components=1), data)


def test_other_rows_are_read_as_the_training_table_was(table):
    from exnihilo.data import load_data
    from tests.tasks.conftest import mixed_frame

    model = trained("gmm", table, components=1)
    frame = mixed_frame()
    tall = load_data(frame[frame["height"] > -0.5], label="species", drop="id")  # another mean and scale
    assert tall.spec.columns[0].mean != table.spec.columns[0].mean
    judged = impute(model, tall, fraction=0.3, n=5)
    assert judged["gmm"]["error"].value < judged["mean"]["error"].value
    train = tall.split("train").first()
    from exnihilo.tasks.judged import fitting

    read = fitting(model, tall).split("train").first()
    raw = table.spec.decode(read.x)
    np.testing.assert_allclose(raw["height"], tall.spec.decode(train.x)["height"], atol=1e-5)
    with pytest.raises(DataError, match="or of other columns"):
        impute(model, load_data(frame, drop="id"))


def test_the_interval_of_few_draws_holds_what_it_promises():
    from exnihilo.core import DataSpec
    from exnihilo.tasks.impute import _Judge

    spec = DataSpec("vector", (50,))
    generator = torch.Generator().manual_seed(0)
    truth, draws = torch.randn(400, 50, generator=generator), torch.randn(20, 400, 50, generator=generator)
    everything = torch.ones_like(truth, dtype=torch.bool)
    judge = _Judge(spec, truth, everything, truth, everything)
    assert judge.figures(truth, "p", draws)["covered"].value == pytest.approx(0.9, abs=0.008)
    assert judge.figures(truth, "p", 0.5 * draws)["covered"].value < 0.7
