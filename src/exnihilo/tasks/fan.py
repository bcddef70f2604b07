"""The picture of a forecast: the past, paths that fan out from it, and what did follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exnihilo.data.figures import BLUE, GREY, INK, drawn, new_figure
from exnihilo.tasks.predictive import quantiles

if TYPE_CHECKING:
    from exnihilo.tasks.forecast import Forecast

PANELS, MOST_CHANNELS = 6, 4
BANDS = ((0.05, 0.16), (0.1, 0.2), (0.25, 0.3))  # lower end of a central interval, and how opaque it is
THREADS = 5  # single paths that are shown
AGO = 3  # horizons of the past that are shown
TRUTH = "#dd6b20"


def fan_picture(forecast: Forecast) -> Any:
    """A PIL image: of one channel six windows in three columns, of several a row for each and three windows across.

    Bands are the central intervals of 50, 80 and 90 %, the line their median, thin lines single paths.
    """
    channels = forecast.channels[:MOST_CHANNELS]
    count = min(PANELS if len(channels) == 1 else 3, len(forecast.past))
    shown = np.linspace(0, len(forecast.past) - 1, count).round().astype(int)
    across = min(3, count)
    down = len(channels) if len(channels) > 1 else -(-count // across)
    figure = new_figure(max(6.4, 0.4 + 3.5 * across), 0.75 + (2.0 if across > 1 else 2.6) * down)
    figure.set_layout_engine("constrained")
    for place in range(across * down):
        channel, window = divmod(place, across) if len(channels) > 1 else (0, place)
        if window >= count:
            break
        axes = figure.add_subplot(down, across, place + 1)
        _panel(axes, forecast, int(shown[window]), channel)
        _label(axes, forecast, place, across, down, channel, int(shown[window]))
    figure.suptitle(_title(forecast), fontsize=10, color=INK)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=7.5, frameon=False)
    return drawn(figure)


def _panel(axes: Any, forecast: Forecast, window: int, channel: int) -> None:
    past, paths = forecast.past[window, channel], forecast.paths[:, window, channel]
    past = past[-AGO * forecast.horizon :]
    before, after = np.arange(1 - len(past), 1), np.arange(1, forecast.horizon + 1)
    for place, (share, opacity) in enumerate(BANDS):
        low, high = quantiles(paths, [share, 1 - share])
        name = "50, 80 and 90 % of the paths" if place == len(BANDS) - 1 else None
        axes.fill_between(after, low, high, color=BLUE, alpha=opacity, linewidth=0, label=name)
    for number, path in enumerate(paths[:THREADS]):
        axes.plot(after, path, color=BLUE, alpha=0.35, linewidth=0.6, label="single paths" if not number else None)
    axes.plot(after, np.median(paths, axis=0), color=BLUE, linewidth=1.5, label="their median")
    axes.plot(before, past, color=INK, linewidth=1.1, label="past")
    if forecast.truth is not None:
        followed = np.concatenate([past[-1:], forecast.truth[window, channel]])
        axes.plot(np.arange(len(followed)), followed, color=TRUTH, linewidth=1.3, label="what followed")
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (3, 3)))
    axes.set_xlim(before[0] if len(before) > 1 else -1, after[-1])


def _label(axes: Any, forecast: Forecast, place: int, across: int, down: int, channel: int, window: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cbd5e0")
    axes.tick_params(labelsize=7, colors=GREY, length=2)
    if len(forecast.past) > 1 and (place < across or len(forecast.channels) == 1):
        number = forecast.windows[window]
        axes.set_title(f"window {number}" if forecast.truth is not None else f"series {number}", fontsize=8, color=GREY)
    if place % across == 0:
        axes.set_ylabel(forecast.channels[channel], fontsize=8, color=GREY)
    if place >= across * (down - 1):
        axes.set_xlabel("steps ahead", fontsize=8, color=GREY)


def _title(forecast: Forecast) -> str:
    title = f"{forecast.recipe}, {forecast.horizon} steps ahead"
    if forecast.judged is None:
        return title
    figures = forecast.judged[forecast.recipe]
    rest = [f"{key} {figures[key].value:.3g}" for key in ("crps", "mase") if key in figures]
    return f"{title}: {', '.join(rest)}; {figures['in 80%'].value:.0%} inside the 80 % band"
