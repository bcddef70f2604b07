"""The report's pictures: quality against speed, learning curves, samples and their nearest training examples."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from exnihilo.core import DataSpec
from exnihilo.data.render import picture
from exnihilo.evaluation.evaluate import Result
from exnihilo.evaluation.rows import Row

INK, GREY, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PAIRS = 16  # samples in the sheet of nearest training examples
COLUMNS = 8
TEXTS, LETTERS = 5, 600  # texts of a model in the page, and letters of each


def _figure(width: float, height: float) -> Any:
    """A figure of its own, so that nothing global of matplotlib's is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Any, *place: int) -> Any:
    axes = figure.add_subplot(*place)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=8)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def _png(figure: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": "exnihilo"})
    return target.getvalue()


def as_png(image: Any) -> bytes:
    """The bytes of a PIL image."""
    target = io.BytesIO()
    image.save(target, format="PNG", optimize=True)
    return target.getvalue()


def trilemma(rows: Sequence[Row]) -> bytes | None:
    """Quality (upwards), speed (to the right) and diversity (colour and size) of every row that was sampled.

    The generative learning trilemma (Xiao et al., 2022, arXiv:2112.07804, Figure 1). Both axes are logarithmic; bars
    are the 95 % intervals of the distance ratio, cut at half of it; copiers are hollow, as their quality is not theirs.
    """
    shown = [row for row in rows if row.role in ("model", "baseline") and row.value("ratio") and row.value("recall")]
    shown = [row for row in shown if row.value("samples_per_second")]
    if not shown:
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    figure = _figure(8.2, 5.0)
    axes = _axes(figure, 1, 1, 1)
    for row in shown:
        speed, ratio, recall = (row.value(key) for key in ("samples_per_second", "ratio", "recall"))
        assert speed is not None
        assert ratio is not None
        assert recall is not None
        bars = [[ratio.value - max(ratio.low, ratio.value / 2)], [ratio.high - ratio.value]]
        axes.errorbar(speed.value, ratio.value, yerr=bars, fmt="none", ecolor=GREY, elinewidth=1, capsize=3, zorder=2)
        style: dict[str, Any] = {"c": [recall.value], "cmap": "viridis", "vmin": 0, "vmax": 1, "zorder": 3}
        if row.result is not None and row.result.copies:
            style = {"facecolors": "white", "edgecolors": GREY, "linewidths": 1.2, "zorder": 3}
        points = axes.scatter(speed.value, ratio.value, s=50 + 260 * recall.value, **style)
        if "cmap" in style:
            colours = points
    axes.axhline(1.0, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    axes.text(
        0.995, 1.0, "real data", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8, color=GREY
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xlabel("samples a second  →  faster", color=INK, fontsize=9)
    axes.set_ylabel("distance to real data (floor = 1)  →  better", color=INK, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    if any(row.ranked for row in shown):
        bar = figure.colorbar(colours, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("recall (diversity)", color=INK, fontsize=9)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, colors=GREY)
    _label_points(figure, axes, shown)
    return _png(figure)


def _label_points(figure: Any, axes: Any, rows: Sequence[Row]) -> None:
    """Names beside the points, each where it covers no point and no other name, if there is such a place."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()
    spots = {row.name: (row.value("samples_per_second"), row.value("ratio")) for row in rows}
    centres = {name: axes.transData.transform((x.value, y.value)) for name, (x, y) in spots.items() if x and y}
    taken = [Bbox.from_bounds(x - 14, y - 14, 28, 28) for x, y in centres.values()]
    for row in rows:
        best = None
        for side, height in ((1, 9), (1, -9), (-1, 9), (-1, -9), (1, 20), (1, -20), (-1, 20), (-1, -20)):
            label = axes.annotate(
                row.name, centres[row.name], xycoords="figure pixels", xytext=(9 * side, height),
                textcoords="offset points", ha="left" if side > 0 else "right", va="center", fontsize=8.5,
                color=INK if row.role == "model" else GREY, zorder=4,
            )  # fmt: skip
            box = label.get_window_extent()
            cost = (
                sum(box.overlaps(other) for other in taken) + 3 * (box.x1 > axes.bbox.x1) + 3 * (box.x0 < axes.bbox.x0)
            )
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, label, box)
            else:
                label.remove()
            if cost == 0:
                break
        assert best is not None
        taken.append(best[2])


def curves(rows: Sequence[Row]) -> bytes | None:
    """What every trained model reported by the clock: its validation figure where it has one, else its losses.

    A panel each, for figures of different families have different units and must not share an axis.
    """
    shown = [row for row in rows if len(row.journal) > 1]
    if not shown:
        return None
    wide = min(4, len(shown))
    tall = -(-len(shown) // wide)
    figure = _figure(max(6.6, 2.6 * wide), 2.1 * tall if wide > 1 else 3.0)
    for place, row in enumerate(shown, start=1):
        axes = _axes(figure, tall, wide, place)
        names = [name for name in row.journal[-1] if name.startswith("validation/")]
        names = names or _losses(row.journal[-1])
        for name in names[:4]:
            points = [(line["seconds"], line[name]) for line in row.journal if name in line]
            axes.plot(*zip(*points, strict=True), linewidth=1.4, label=name.removeprefix("validation/"))
        axes.set_title(row.name, fontsize=9, color=INK, loc="left")
        if names:
            axes.legend(fontsize=6.5, frameon=False, labelcolor=GREY)
        if place > len(shown) - wide:
            axes.set_xlabel("seconds", fontsize=8, color=GREY)
    return _png(figure)


def _losses(line: Mapping[str, object]) -> list[str]:
    """The first term of every player, which is its loss; further ones are scores, penalties and gradients."""
    first: dict[str, str] = {}
    for name in line:
        player, slash, term = name.partition("/")
        if slash and term != "gradient":
            first.setdefault(player, name)
    return list(first.values())


def samples(spec: DataSpec, result: Result) -> Any | None:
    """The first samples, not chosen, as one picture (a PIL image): a grid, plots, lines, spectrograms, a page.

    None where there are none.
    """
    return None if result.samples is None else picture(spec, result.samples, columns=COLUMNS)


def way(spec: DataSpec, result: Result) -> Any | None:
    """The way of the first samples from noise; None where the model does not denoise."""
    return None if result.way is None else result.way.picture(spec)


def passages(spec: DataSpec, result: Result) -> list[str]:
    """The first sampled texts, not chosen, cut where they are long; nothing of other data."""
    if spec.kind != "text" or result.samples is None:
        return []
    texts = spec.decode(result.samples[:TEXTS])
    return [text if len(text) <= LETTERS else text[: LETTERS - 1] + "…" for text in texts]


def neighbours(spec: DataSpec, result: Result) -> Any | None:
    """Pictures of samples, each above the training picture nearest to it; None for other kinds of data."""
    if spec.kind != "image" or result.samples is None or result.neighbours is None:
        return None
    rows: list[torch.Tensor] = []
    for start in range(0, min(PAIRS, len(result.samples)), COLUMNS):
        rows += [result.samples[start : start + COLUMNS], result.neighbours[start : start + COLUMNS]]
    return picture(spec, torch.cat(rows), columns=COLUMNS)
