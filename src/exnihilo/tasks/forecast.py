"""Forecasting: what follows, as paths drawn from a model of windows, and how good they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, DataSpec, GenerativeModel, OptionError
from exnihilo.core.noise import hash_key
from exnihilo.data import Dataset
from exnihilo.data.render import column_names, save_picture, write_whole
from exnihilo.data.windows import Windows
from exnihilo.evaluation.value import Value
from exnihilo.probability.seasons import find_season
from exnihilo.tasks.fan import fan_picture
from exnihilo.tasks.forecast_rows import PastAndFuture, row_draws
from exnihilo.tasks.impute import fill
from exnihilo.tasks.judged import Judged, fitting, ratio_value
from exnihilo.tasks.predictive import check_draws, crps, inside, quantiles

TRAINED_ON = 5000  # training windows that the baselines look at
SHARES = (0.5, 0.8, 0.9)  # of the central intervals
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # quantiles that are written


@dataclass
class Forecast:
    """Pasts, paths that go on from them and, where it is known, what did follow; all in the units of the data.

    NaN stands where a value is missing. judged: figures over all channels; by_channel: of each where there are several.
    """

    recipe: str
    channels: list[str]
    past: np.ndarray  # [B, C, P]
    paths: np.ndarray  # [n, B, C, H]
    truth: np.ndarray | None = None  # [B, C, H]
    windows: list[int] = field(default_factory=list)  # their places in the split
    judged: Judged | None = None
    by_channel: dict[str, Judged] = field(default_factory=dict)
    times: list[str] = field(default_factory=list)  # of the steps ahead, where the data say them
    time: str = ""  # what their column is called

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return int(self.paths.shape[3])

    def frame(self) -> Any:
        """A DataFrame: a row for every window, channel and step, with the truth and quantiles of the paths."""
        import pandas as pd

        each = np.moveaxis(quantiles(self.paths, list(LEVELS)), 0, -1).reshape(-1, len(LEVELS))
        names = pd.MultiIndex.from_product(
            [self.windows, self.channels, range(1, self.horizon + 1)], names=["window", "channel", "step"]
        )
        frame = pd.DataFrame(each, index=names, columns=[f"q{level:g}" for level in LEVELS]).reset_index()
        if self.truth is not None:
            frame.insert(3, "truth", self.truth.ravel())
        return self._timed(frame)

    def paths_frame(self) -> Any:
        """A DataFrame of every path: a row for every window, path and step, a column for every channel."""
        import pandas as pd

        index = pd.MultiIndex.from_product(
            [self.windows, range(len(self.paths)), range(1, self.horizon + 1)], names=["window", "path", "step"]
        )
        rows = self.paths.transpose(1, 0, 3, 2).reshape(-1, len(self.channels))
        return self._timed(pd.DataFrame(rows, index=index, columns=self.channels).reset_index(allow_duplicates=True))

    def _timed(self, frame: Any) -> Any:
        """The frame with a column of times after that of steps, where they are known."""
        if self.times:
            named = [self.times[step - 1] for step in frame["step"]]
            frame.insert(3, self.time, named, allow_duplicates=True)
        return frame

    def picture(self) -> Any:
        """A PIL image: some windows with the paths' intervals fanning out, and the truth."""
        return fan_picture(self)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        judged = {} if self.judged is None else self.judged.to_json()
        return {**judged, "channels": {name: figures.to_json() for name, figures in self.by_channel.items()}}

    def save(self, folder: str | Path) -> list[Path]:
        """forecast.csv (quantiles), forecast.png, and figures.json or, of what has no truth, paths.csv."""
        folder = Path(folder)
        tables = {"forecast.csv": self.frame()}
        if self.judged is None:
            tables["paths.csv"] = self.paths_frame()
        files = [write_whole(folder / name, partial(_write_table, table)) for name, table in tables.items()]
        files.append(save_picture(self.picture(), folder / "forecast.png", {"recipe": self.recipe}))
        if self.judged is not None:
            files.append(write_whole(folder / "figures.json", partial(_write_figures, self.to_json())))
        return files


def _write_table(table: Any, draft: Path) -> None:
    table.to_csv(draft, index=False, float_format="%.7g")


def _write_figures(figures: dict[str, Any], draft: Path) -> None:
    draft.write_text(json.dumps(figures, indent=1))


def forecast(
    model: GenerativeModel,
    data: Data,
    *,
    horizon: int,
    paths: int = 100,
    season: int | None = None,
    split: str = "test",
    limit: int = 100,
    seed: int = 0,
) -> Forecast:
    """Let the model continue windows whose last `horizon` steps are kept from it, and judge its paths by them.

    Paths are drawn by `impute` with the end missing: of autoregressive models ancestral samples. Figures over the
    windows' steps that were observed: crps (fair, see `crps`), mae of the paths' median, mase (mae over that of the
    seasonal, else the plain naive forecast one step ahead on training data: Hyndman & Koehler, 2006), and the shares of
    values inside the central intervals of 50, 80 and 90 %. Rows: naive, seasonal naive - its period found on training
    data, or `season` - and linear, all with Gaussian residuals. crps and mae are in the unit of the data, of several
    channels in standard deviations (and in units by channel). At most `limit` windows, spread evenly over the split.
    Raises Unsupported, OptionError or DataError.
    """
    _check(model, horizon, paths, season)
    data = fitting(model, data)
    spec, past = model.spec, model.spec.shape[1] - horizon
    test, places = _spread_out(data.split(split), limit)
    observed = _observed(test)
    fair = observed[..., :past].flatten(1).any(dim=1) & observed[..., past:].flatten(1).any(dim=1)
    test, observed, places = test[fair], observed[fair], places[fair]
    if not len(test):
        raise DataError(f"No window of the {split} split shows values on both sides of the forecast's beginning.")
    train, validation = (_cut(data.split(name).first(TRAINED_ON), horizon) for name in ("train", "validation"))
    whole = np.concatenate([train.past, train.future], axis=2)
    season = season or find_season(whole, past)
    ahead = torch.arange(spec.shape[1]) >= past
    drawn = fill(model, test.x, observed & ~ahead, n=paths, seed=seed).draws[..., past:].cpu().double().numpy()
    cut = _cut(test, horizon)
    rows = {model.recipe: drawn}
    rows |= row_draws(train, validation, cut.past, season, paths, hash_key("forecast", seed) >> 1)
    raw = {name: in_units(spec, draws) for name, draws in rows.items()}
    truth = np.where(cut.seen, in_units(spec, cut.future), np.nan)
    known = observed[..., :past].numpy()
    seen = np.where(known, in_units(spec, test.x[..., :past].double().numpy()), np.nan)
    result = Forecast(model.recipe, column_names_of(spec), seen, raw[model.recipe], truth, places.tolist())
    source = getattr(data, "source", "")
    protocol = f"{source} {split}, {len(test)} windows, {horizon} steps after {past}, {paths} paths, seed {seed}"
    _judge(result, raw, in_units(spec, whole), season, protocol, _notes(data.split(split), places, season, past))
    return result


def forecast_ahead(
    model: GenerativeModel, data: Data, *, horizon: int, paths: int = 100, limit: int = 8, seed: int = 0
) -> Forecast:
    """What follows the end of the data: paths that go on from the last steps that a window of the model holds.

    Of one long series its end, with the times of the steps where a column of even times says them; of many series, each
    an example, the ends of `limit` of the test split.
    """
    _check(model, horizon, paths, None)
    past = model.spec.shape[1] - horizon
    latest, places = _latest(fitting(model, data), model.spec, past, limit)
    observed = _observed(latest)
    shown = observed[..., :past].flatten(1).any(dim=1)
    latest, observed, places = latest[shown], observed[shown], places[shown]
    if not len(latest):
        raise DataError(f"All of the last {past} values are missing, so there is nothing to go on from.")
    drawn = fill(model, latest.x, observed, n=paths, seed=seed).draws[..., past:].cpu().double().numpy()
    known = observed[..., :past].numpy()
    seen = np.where(known, in_units(model.spec, latest.x[..., :past].double().numpy()), np.nan)
    result = Forecast(
        model.recipe, column_names_of(model.spec), seen, in_units(model.spec, drawn), None, places.tolist()
    )
    if isinstance(data, Dataset) and data.times is not None:
        result.time, result.times = data.times.name, data.times.after(horizon)
    return result


def _check(model: GenerativeModel, horizon: int, paths: int, season: int | None) -> None:
    spec = model.spec
    if spec.kind not in ("series", "audio"):
        raise DataError(f"{model.recipe} was trained on {spec.kind} data, which have no time to go on in.")
    model.require("impute")
    steps = spec.shape[1]
    if not 1 <= horizon < steps:
        raise OptionError(
            f"horizon={horizon} is not allowed: the model knows windows of {steps} steps, and has to see one of them at"
            f" least. Take 1 to {steps - 1}, or train on longer windows with -d window=."
        )
    check_draws(paths, "paths")
    if season is not None and not 1 <= season <= steps - horizon:
        raise OptionError(f"season={season} is not allowed: it takes 1 to {steps - horizon}, the steps of the past.")


def column_names_of(spec: DataSpec) -> list[str]:
    """The channels' names; sound has one."""
    return ["sound"] if spec.kind == "audio" else column_names(spec)


def in_units(spec: DataSpec, values: np.ndarray) -> np.ndarray:
    """[..., C, T] from model space to the units of the data."""
    flat = torch.from_numpy(values.reshape(-1, *values.shape[-2:])).float()
    return np.asarray(spec.decode(flat), dtype=np.float64).reshape(values.shape)


def _observed(batch: Batch) -> Tensor:
    return torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask


def _cut(batch: Batch, horizon: int) -> PastAndFuture:
    return PastAndFuture.of(batch.x.double().numpy(), _observed(batch).numpy(), horizon)


def _spread_out(data: Data, limit: int) -> tuple[Batch, Tensor]:
    """At most `limit` examples from the first to the last, and their places."""
    places = torch.linspace(0, len(data) - 1, min(limit, len(data))).round().long()
    return data.first()[places], places


def _latest(data: Data, spec: DataSpec, past: int, limit: int) -> tuple[Batch, Tensor]:
    """Examples [B, C, T] that begin with the latest steps there are, all others missing; and their places."""
    windows = data.examples if isinstance(data, Dataset) and isinstance(data.examples, Windows) else None
    if windows is None or torch.equal(windows.starts, torch.arange(len(windows)) * windows.length):
        batch, places = _spread_out(data.split("test"), limit)  # each example is a series of its own
    else:
        assert isinstance(data, Dataset)
        batch, places = _end(data, windows), torch.zeros(1, dtype=torch.int64)
    known = _observed(batch).roll(past, dims=2)  # the last steps come first
    known[..., past:] = False
    return Batch(batch.x.roll(past, dims=2), mask=known), places


def _end(data: Dataset, windows: Windows) -> Batch:
    """The last steps of one long series, as many as a window has."""
    x = windows.stream[..., -windows.length :][None]
    known = torch.ones_like(windows.stream, dtype=torch.bool)
    for start, mask in zip(windows.starts.tolist(), () if data.mask is None else data.mask, strict=False):
        known[..., start : start + windows.length] = mask
    batch = Batch(x if x.is_floating_point() else data.spec.from_levels(x), mask=known[..., -windows.length :][None])
    for change in data.changes:
        batch = change(batch)
    return batch


# -- figures ---------------------------------------------------------------------------------------------------------


def _judge(
    result: Forecast,
    rows: dict[str, np.ndarray],
    train: np.ndarray,
    season: int | None,
    protocol: str,
    notes: list[str],
) -> None:
    """Fill in the figures of all rows [n, B, C, H]; train [N, C, T] tells spread and usual step of a channel."""
    assert result.truth is not None
    lag = season or 1
    step = np.abs(train[..., lag:] - train[..., :-lag]).mean(axis=(0, 2))  # [C]
    spread = train.std(axis=(0, 2)).clip(1e-12)
    unit, how = (spread, "standard deviations") if len(spread) > 1 else (np.ones(1), "the unit of the data")
    title = f"forecasts of {result.recipe}, {result.horizon} steps ahead"
    figures = {name: _figures(draws, result.truth, step, unit, how, protocol) for name, draws in rows.items()}
    result.judged = Judged(title, figures, notes)
    for number, name in enumerate(result.channels if len(spread) > 1 else ()):
        one = slice(number, number + 1)
        each = {
            row: _figures(draws[:, :, one], result.truth[:, one], step[one], np.ones(1), "its own unit", protocol)
            for row, draws in rows.items()
        }
        result.by_channel[name] = Judged(f"{title}: {name}", each)
    if len(spread) > 1:
        notes.append("crps and mae of several channels are in standard deviations; --json has each in its own unit")


def _figures(
    draws: np.ndarray, truth: np.ndarray, step: np.ndarray, unit: np.ndarray, how: str, protocol: str
) -> dict[str, Value]:
    """What can be said of draws [n, B, C, H] beside the truth [B, C, H], NaN where it is not known."""
    known = ~np.isnan(truth)
    truth = np.where(known, truth, 0.0)
    missed = np.abs(np.median(draws, axis=0) - truth)
    moving = known & (step > 0)[:, None]
    scores = {
        "crps": (crps(draws, truth) / unit[:, None], known, f"fair continuous ranked probability score, in {how}"),
        "mae": (missed / unit[:, None], known, f"absolute error of the paths' median, in {how}"),
        "mase": (missed / np.where(step > 0, step, 1)[:, None], moving, "the same over that of the naive next step"),
    }
    for share in SHARES:
        about = f"share of values in the central {share:.0%} interval of the paths"
        scores[f"in {share:.0%}"] = (inside(draws, truth, share).astype(float), known, about)
    return {
        name: ratio_value(
            torch.from_numpy(np.where(counted, score, 0.0).sum(axis=(1, 2))),
            torch.from_numpy(counted.sum(axis=(1, 2)).astype(np.float64)),
            f"{about} | {protocol}",
        )
        for name, (score, counted, about) in scores.items()
        if counted.any()
    }


def _notes(data: Data, places: Tensor, season: int | None, past: int) -> list[str]:
    """What to know of the season, and of windows that are not independent."""
    notes = [
        f"a season of {season} steps"
        if season
        else f"no season of up to {past} steps was found, so there is no such row (--season gives one)"
    ]
    if isinstance(data, Dataset) and isinstance(data.examples, Windows):
        starts = data.examples.starts[data.places[places]]
        if len(starts) > 1 and int(starts.diff().min()) < data.examples.length:
            notes.append("the windows overlap, so figures are less certain than their intervals say")
    return notes
