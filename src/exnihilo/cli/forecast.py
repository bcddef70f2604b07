"""`exnihilo forecast`: what follows, and how well a model knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.looking import load_source
from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads, pairs


def forecast(
    run: RunPath,
    horizon: Annotated[int, typer.Option(help="Steps ahead; fewer than a window has.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="Series or recordings; by default those of the run, read as then."),
    ] = None,
    paths: Annotated[int, typer.Option(min=1, help="Paths drawn for every window.")] = 100,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="For forecast.csv (quantiles), forecast.png and figures.json or paths.csv."
        ),
    ] = None,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Go on from the end of the data, where no truth is known, into --out.")
    ] = False,
    season: Annotated[
        int | None, typer.Option(help="Steps of a season, for the seasonal row; by default looked for.")
    ] = None,
    split: Annotated[
        Literal["test", "validation", "train"], typer.Option(help="The split whose windows are continued.")
    ] = "test",
    n: Annotated[int, typer.Option("-n", min=1, help="Windows at most, spread evenly over the split.")] = 100,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Let a model go on where windows end, beside the last value, the last season and a linear map.

    exnihilo forecast runs/hmm --horizon 24 --out forecasts/hmm

    exnihilo forecast runs/hmm newer.csv --horizon 24 --ahead --out forecasts/next
    """
    from exnihilo.core import OptionError
    from exnihilo.tasks import forecast, forecast_ahead

    if ahead and out is None:
        raise OptionError(f"Name the folder for what is ahead: exnihilo forecast {run} --ahead --out FOLDER")
    with trained(run, threads) as (model, record):
        data = _read(record, source, d)
        if ahead:
            result = forecast_ahead(model, data, horizon=horizon, paths=paths, limit=min(n, 8), seed=seed)
        else:
            result = forecast(model, data, horizon=horizon, paths=paths, season=season, split=split, limit=n, seed=seed)
        files = [str(path) for path in result.save(out)] if out is not None else []
    if json:
        ahead_of = {"times": {result.time: result.times}} if result.times else {}
        return print_json({"files": files, **ahead_of, **result.to_json()})
    if result.judged is not None:
        print_judged(result.judged)
    elif result.times:
        remark(f"Ahead: {result.time} {result.times[0]} to {result.times[-1]}, {horizon} steps")
    else:
        remark(f"Ahead: {horizon} steps after the end; the data have no column of even times to name them by")
    for file in files:
        remark(f"Written: {file}")


def _read(record: dict[str, Any], source: str | None, d: list[str] | None) -> Any:
    """The run's own data, or others read as these were, as far as their loader has the same options."""
    import exnihilo as xn
    from exnihilo.data import data_options

    if source is None:
        return load_source(record, None, d)
    known = data_options(source)
    kept = {name: value for name, value in record["data"]["options"].items() if name in known}
    return xn.load_data(source, **(kept | pairs(d, "-d")))
