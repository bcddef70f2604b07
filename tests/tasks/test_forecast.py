from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from exnihilo.core import DataError, GenerativeModel, Noise, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.probability.seasons import find_season
from exnihilo.tasks import forecast, forecast_ahead
from exnihilo.tasks.forecast_rows import PastAndFuture, carried, linear, row_draws, seasonal_naive
from exnihilo.tasks.predictive import crps, inside, quantiles
from exnihilo.training import train

PHI = 0.9


class AR1(GenerativeModel):
    """x_t = PHI x_{t-1} + s e_t in model space, for whatever the data are: `impute` draws exact paths of the end."""

    def __init__(self, spec, noise: float):
        super().__init__()
        self.spec, self.recipe, self.options, self.noise = spec, "ar1", {}, noise

    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        noise, filled = Noise(seed, len(x)), x.clone()
        for t in range(x.shape[2]):
            before = filled[..., t - 1] if t else torch.zeros_like(x[..., 0])
            step = PHI * before + self.noise * noise.normal(x.shape[1])
            filled[..., t] = torch.where(mask[..., t], x[..., t], step)
        return filled


def process(steps: int = 6000, scale: float = 1.0) -> np.ndarray:
    rng, x = np.random.default_rng(0), np.zeros(steps)
    for t in range(1, steps):
        x[t] = PHI * x[t - 1] + rng.normal()
    return scale * x


def known_model(data) -> AR1:
    return AR1(data.spec, 1 / data.spec.columns[0].scale)


@pytest.fixture(scope="module")
def one():
    return load_data(process(), window=24, stride=24)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_crps_of_a_standard_normal_at_its_mean():
    draws = np.random.default_rng(0).standard_normal((200_000, 1))
    assert crps(draws, np.zeros(1))[0] == pytest.approx(0.23369498, abs=3e-3)
    shifted = crps(draws, np.full(1, 1.5))[0]  # y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi)
    assert shifted == pytest.approx(1.5 * 0.8663856 + 2 * 0.1295176 - 0.5641896, abs=5e-3)


def test_the_fair_crps_does_not_depend_on_the_number_of_draws():
    rng = np.random.default_rng(1)
    few = crps(rng.standard_normal((3, 100_000)), np.zeros(100_000))
    assert few.mean() == pytest.approx(0.23369498, abs=4 * few.std() / np.sqrt(len(few)))
    assert crps(np.array([[1.0], [3.0]]), np.zeros(1))[0] == pytest.approx(2 - 1)  # mean |x - y|, half of |1 - 3|


def test_intervals_hold_a_further_draw_as_often_as_they_say():
    rng = np.random.default_rng(2)
    draws, truth = rng.gamma(2, size=(39, 40_000)), rng.gamma(2, size=40_000)
    for share in (0.5, 0.8, 0.9):
        assert inside(draws, truth, share).mean() == pytest.approx(share, abs=0.01)
    assert np.array_equal(quantiles(np.arange(1.0, 20.0)[:, None], [0.05, 0.5])[:, 0], [1, 10])


# -- rows ------------------------------------------------------------------------------------------------------------


def test_a_season_is_found_where_there_is_one():
    rng = np.random.default_rng(0)
    time = np.arange(48) + rng.integers(0, 12, size=(40, 1))
    wave = (np.sin(2 * np.pi * time / 12) + 0.02 * time + 0.3 * rng.normal(size=time.shape))[:, None]
    assert find_season(wave, 30) == 12
    assert find_season(rng.normal(size=(200, 1, 48)), 30) is None
    past = wave[:, :, :36]
    guess = seasonal_naive(15, 12)(past)
    assert np.array_equal(guess[..., :12], past[..., -12:])
    assert np.array_equal(guess[..., 12:], past[..., -12:-9])


def test_gaps_of_the_past_know_nothing_of_what_comes_after_them():
    x = np.array([[[9.0, 1.0, 5.0, 7.0, 8.0, 6.0]]])
    seen = np.array([[[False, True, False, False, True, False]]])
    assert carried(x, seen)[0, 0].tolist() == [0, 1, 1, 1, 8, 8]
    cut = PastAndFuture.of(x, seen, 2)
    assert cut.past[0, 0].tolist() == [0, 1, 1, 1]
    assert cut.seen[0, 0].tolist() == [True, False]


def test_the_linear_row_finds_the_best_linear_forecast(one):
    train, held = (
        PastAndFuture.of(x, np.ones_like(x, dtype=bool), 4)
        for x in (one.split(name).first().x.double().numpy() for name in ("train", "test"))
    )
    guess = linear(train, held)(held.past)
    best = held.past[..., -1:] * PHI ** np.arange(1, 5)
    missed, least = ((answer - held.future) ** 2 for answer in (guess, best))
    assert missed.mean() < 1.15 * least.mean()
    draws = row_draws(train, held, held.past, None, 200, 0)
    assert set(draws) == {"naive", "linear"}
    assert inside(draws["naive"], held.future, 0.8).mean() == pytest.approx(0.8, abs=0.06)


# -- the task --------------------------------------------------------------------------------------------------------


def test_an_exact_model_is_calibrated_and_beats_the_rows(one):
    result = forecast(known_model(one), one, horizon=8, paths=100)
    figures, naive, line = (result.judged[name] for name in ("ar1", "naive", "linear"))
    for share in ("50", "80", "90"):
        value = figures[f"in {share}%"]
        assert value.low - 0.05 < int(share) / 100 < value.high + 0.05
    assert figures["crps"].value < 0.97 * naive["crps"].value
    assert figures["crps"].value < 1.02 * line["crps"].value
    spread = result.paths.std(axis=0).mean(axis=(0, 1))  # [H]
    expected = np.sqrt((1 - PHI ** (2 * np.arange(1, 9))) / (1 - PHI**2))
    assert np.allclose(spread, expected, rtol=0.1)
    assert result.truth.shape == (len(result.windows), 1, 8)


def test_figures_are_in_the_unit_of_the_data(one):
    small = forecast(known_model(one), one, horizon=4, paths=40, limit=20)
    large_data = load_data(process(scale=50.0), window=24, stride=24)
    large = forecast(
        AR1(large_data.spec, 50 / large_data.spec.columns[0].scale), large_data, horizon=4, paths=40, limit=20
    )
    mine, its = small.judged["ar1"], large.judged["ar1"]
    assert its["crps"].value == pytest.approx(50 * mine["crps"].value, rel=1e-3)
    assert its["mase"].value == pytest.approx(mine["mase"].value, rel=1e-3)


def test_missing_values_are_neither_judged_nor_looked_at():
    x = process(2000)
    x[np.random.default_rng(0).random(2000) < 0.2] = np.nan
    data = load_data(np.stack([x, 3 * process(2000)], axis=1), window=20, stride=20)
    result = forecast(AR1(data.spec, 0.4), data, horizon=5, paths=25)
    assert 0.1 < np.isnan(result.truth[:, 0]).mean() < 0.3
    assert not np.isnan(result.truth[:, 1]).any()
    assert set(result.by_channel) == {"x0", "x1"}
    assert np.isfinite(result.paths).all()
    assert result.by_channel["x1"]["ar1"]["mae"].value > 2 * result.by_channel["x0"]["ar1"]["mae"].value
    assert any("standard deviations" in note for note in result.judged.notes)
    frame = result.frame()
    assert len(frame) == len(result.windows) * 2 * 5
    assert (frame["q0.1"] <= frame["q0.9"]).all()


def test_ahead_goes_on_from_the_last_row():
    x = np.concatenate([process(1000), np.full(9, 40.0)])
    data = load_data(x, window=16, stride=5)
    result = forecast_ahead(AR1(data.spec, 1e-3), data, horizon=6, paths=20)
    assert result.past[0, 0, -9:] == pytest.approx(40.0, rel=1e-4)
    last = (40 - data.spec.columns[0].mean) * PHI ** np.arange(1, 7) + data.spec.columns[0].mean
    assert np.median(result.paths, axis=0)[0, 0] == pytest.approx(last, rel=0.02)
    assert result.truth is None
    several = load_data(np.random.default_rng(0).normal(size=(60, 1, 12)), kind="series")
    each = forecast_ahead(AR1(several.spec, 1.0), several, horizon=3, paths=20)
    test = several.split("test").first()
    assert each.past.shape == (8, 1, 9)
    assert each.past[0, 0] == pytest.approx(several.spec.decode(test.x)[0, 0, -9:])
    assert len(each.paths_frame()) == 8 * 20 * 3


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        (pd.date_range("2024-02-26", periods=400, freq="D").strftime("%Y-%m-%d"), ["2025-04-01", "2025-04-02"]),
        (
            pd.date_range("2024-01-01", periods=400, freq="h").astype(str),
            ["2024-01-17 16:00:00", "2024-01-17 17:00:00"],
        ),
        (pd.date_range("1990-01-01", periods=400, freq="MS").strftime("%Y-%m-%d"), ["2023-05-01", "2023-06-01"]),
        (range(1700, 2100), ["2100", "2101"]),
        (range(2100, 1700, -1), ["2101", "2102"]),  # the latest row first
        (0.25 * np.arange(400), ["100", "100.25"]),
        (np.arange(400) + (np.arange(400) > 200), []),  # one step is longer
    ],
    ids=["days", "hours", "months", "years", "reversed", "numbers", "uneven"],
)
def test_what_is_ahead_has_its_time_where_times_are_even(moments, expected):
    data = load_data(pd.DataFrame({"when": moments, "value": process(400)}), time="when", window=16)
    result = forecast_ahead(AR1(data.spec, 1.0), data, horizon=2, paths=20)
    assert result.times == expected
    assert list(result.frame())[:4] == ["window", "channel", "step", "when" if expected else "q0.05"]
    paths = result.paths_frame()
    assert list(paths)[:3] == ["window", "path", "step"]
    assert not expected or paths["when"].tolist() == expected * 20


def test_mistakes_are_told(one, points):
    model = known_model(one)
    with pytest.raises(OptionError, match=r"horizon=24 is not allowed.*Take 1 to 23"):
        forecast(model, one, horizon=24)
    with pytest.raises(OptionError, match="paths=5 is not allowed"):
        forecast(model, one, horizon=4, paths=5)
    with pytest.raises(OptionError, match="season=30"):
        forecast(model, one, horizon=4, season=30)
    with pytest.raises(DataError, match="vector data, which have no time"):
        forecast(create("gmm", points), points, horizon=1)
    with pytest.raises(Unsupported, match="cannot impute"):
        forecast(create("pca", one), one, horizon=4)


def test_the_verb_writes_what_it_says(tmp_path, monkeypatch, capsys):
    from exnihilo.cli.main import main

    def call(*words: str) -> int:
        with pytest.raises(SystemExit) as leaving:
            main(list(words))
        return int(leaving.value.code or 0)

    monkeypatch.chdir(tmp_path)
    dates = pd.date_range("2024-01-01", periods=600, freq="h")
    pd.DataFrame({"time": dates, "load": process(600)}).to_csv("load.csv", index=False)
    data = load_data("load.csv", window=16)
    train(create("gmm", data, components=2), data, steps=1, out="run", threads=1, progress=False)
    capsys.readouterr()
    assert call("forecast", "run", "--horizon", "4", "--paths", "20", "-n", "10", "--out", "told", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["rows"]) >= {"gmm", "naive", "linear"}
    assert {path.name for path in (tmp_path / "told").iterdir()} == {"forecast.csv", "forecast.png", "figures.json"}
    assert call("forecast", "run", "load.csv", "--horizon", "4", "--paths", "20", "--ahead", "--out", "next") == 0
    paths = pd.read_csv(tmp_path / "next" / "paths.csv")
    assert list(paths.columns) == ["window", "path", "step", "time", "load"]
    assert len(paths) == 80
    assert call("forecast", "run", "--horizon", "4", "--ahead") == 2
    assert "Name the folder" in capsys.readouterr().err
