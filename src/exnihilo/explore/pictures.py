"""The pictures of this folder: labelled grids of pictures, sheets of rows, paths in the plane, maps of points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec
from exnihilo.data.render import as_bytes, column_names, decoded_frame
from exnihilo.explore.sketches import sketches

CELL, SMALL_CELL, GAP = 64, 40, 3  # pixels
DOTS, PLOT_DOTS = 100, 140  # an inch
LETTER, LINE = 7, 20  # pixels of a label's letter and line
DARK = 2.2  # deviations beyond which a sheet's cell is dark
INK, GREY = "#1f2937", "#6b7280"
MOST_COLUMNS = 24  # of a table that are shown
MOST_PANELS = 12
TEXT_ROWS, TEXT_STEPS = 24, 11  # up to here the numbers are written into a sheet


def rows_picture(
    spec: DataSpec, x: Tensor, rows: Sequence[str], columns: Sequence[str], around: Tensor | None = None
) -> Any:
    """A PIL image of examples x [R, C, *shape] in rows that are read from left to right, as suits their kind.

    Pictures: a grid. Points of a plane: a path for each row. Other vectors and tables: a sheet for each row, which is
    one example a column. A cell that is NaN stays empty. around [N, *shape]: what points are shown against.
    """
    layout = layout_of(spec)
    if layout == "grid":
        return _grid(_bytes(spec, x), rows, columns)
    return _paths(spec, x, rows, around) if layout == "points" else _sheets(spec, x, rows, columns)


def plane_picture(
    spec: DataSpec, x: Tensor, values: Sequence[float], names: Sequence[str], around: Tensor | None = None
) -> Any:
    """A PIL image of examples x [S, S, *shape] over a plane of codes, the first axis to the right, the second up."""
    layout = layout_of(spec)
    if layout != "grid":
        return _net(spec, x, around) if layout == "points" else _surfaces(spec, x, values, names)
    marked = {round(place) for place in np.linspace(0, len(values) - 1, min(6, len(values)))}
    marks = [signed(value) if place in marked else "" for place, value in enumerate(values)]
    title = f"{names[0]} →   {names[1]} ↑"
    return _grid(_bytes(spec, x), marks[::-1], marks, cell=SMALL_CELL, gap=2, title=title)


def signed(value: float) -> str:
    """A number of deviations above a column: +1.5, -0.75, 0."""
    return "0" if abs(value) < 0.005 else f"{value:+.2f}".rstrip("0").rstrip(".")


def layout_of(spec: DataSpec) -> Literal["grid", "points", "sheet"]:
    """How examples are shown: pictures (also square vectors of two levels, and series and sounds as sketches), points
    of a plane, or lists of values."""
    square = math.isqrt(spec.size) ** 2 == spec.size > 4
    if spec.kind in ("image", "series", "audio") or (spec.kind == "vector" and spec.levels == 2 and square):
        return "grid"
    if spec.kind == "vector" and spec.shape == (2,):
        return "points"
    if spec.kind not in ("vector", "table"):
        raise DataError("Texts are read, not seen: print `model.spec.decode(...)` of the examples.")
    return "sheet"


# -- pictures --------------------------------------------------------------------------------------------------------


def _bytes(spec: DataSpec, x: Tensor) -> np.ndarray:
    """[R, C, *shape] -> (R, C, H, W, 3) bytes; white where x is NaN."""
    flat = x.flatten(0, 1)
    empty = flat.flatten(1).isnan().any(dim=1).numpy()
    flat = flat.nan_to_num()
    if spec.kind == "image":
        raw = as_bytes(spec, flat)
    elif spec.kind in ("series", "audio"):
        raw = sketches(spec, flat)
    else:
        side = math.isqrt(spec.size)
        raw = (flat.view(-1, side, side).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    raw = raw.copy() if raw.ndim == 4 else np.repeat(raw[..., None], 3, axis=-1)
    raw[empty] = 255
    return raw.reshape(*x.shape[:2], *raw.shape[1:])


def _grid(
    cells: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, cell: int = CELL, gap: int = GAP, title: str = ""
) -> Any:
    """Cells (R, C, H, W, 3), enlarged by a whole factor, with a label before each row and above each column."""
    factor = max(1, math.ceil(cell / max(cells.shape[2:4])))
    cells = cells.repeat(factor, axis=2).repeat(factor, axis=3)
    down, across, height, width = cells.shape[:4]
    padded = np.pad(cells, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    canvas = padded.transpose(0, 2, 1, 3, 4).reshape(down * (height + gap), across * (width + gap), 3)
    left = 10 + LETTER * max((len(text) for text in rows), default=0)
    top = LINE * (bool(any(columns)) + bool(title)) + 6
    size = canvas.shape
    wide, tall = left + size[1] + 8, top + size[0] + 8
    figure = _figure(wide / DOTS, tall / DOTS, plot=False)
    axes = figure.add_axes((left / wide, 8 / tall, size[1] / wide, size[0] / tall))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for place, text in enumerate(rows):
        middle = place * (height + gap) + height / 2
        axes.text(-8, middle, text, ha="right", va="center", fontsize=8.5, color=INK)
    for place, text in enumerate(columns):
        middle = place * (width + gap) + width / 2
        axes.text(middle, -6, text, ha="center", va="bottom", fontsize=8.5, color=GREY)
    if title:
        figure.text((left + size[1] / 2) / wide, 1 - 4 / tall, title, ha="center", va="top", fontsize=9, color=INK)
    return _image(figure)


# -- points of a plane -----------------------------------------------------------------------------------------------


def _paths(spec: DataSpec, x: Tensor, rows: Sequence[str], around: Tensor | None) -> Any:
    """x [R, S, 2]: a path for each row, whose points grow on the way."""
    figure = _figure(6, 5)
    axes = figure.add_subplot()
    _cloud(axes, spec, around)
    palette = _palette(len(rows))
    for place, (path, text) in enumerate(zip(x, rows, strict=False)):
        points = np.asarray(spec.decode(path[~path.isnan().any(dim=1)]))
        axes.plot(points[:, 0], points[:, 1], color=palette[place], linewidth=1.3, label=text)
        axes.scatter(points[:, 0], points[:, 1], color=palette[place], s=np.linspace(8, 45, len(points)), linewidths=0)
    _tidy(axes, spec)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _image(figure)


def _net(spec: DataSpec, x: Tensor, around: Tensor | None) -> Any:
    """x [S, S, 2]: where the lines of an even grid of codes come to lie."""
    figure = _figure(5.5, 5)
    axes = figure.add_subplot()
    _cloud(axes, spec, around)
    points = np.asarray(spec.decode(x.flatten(0, 1))).reshape(*x.shape[:2], 2)
    for lines, colour in ((points, "#2b6cb0"), (points.transpose(1, 0, 2), "#dd6b20")):
        for line in lines:
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.8)
    _tidy(axes, spec)
    return _image(figure)


def _cloud(axes: Any, spec: DataSpec, around: Tensor | None) -> None:
    if around is not None:
        points = np.asarray(spec.decode(around))
        axes.scatter(points[:, 0], points[:, 1], s=5, color="#d1d5db", linewidths=0, zorder=0)


def _tidy(axes: Any, spec: DataSpec) -> None:
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
    names = column_names(spec)
    axes.set_xlabel(names[0], fontsize=9)
    axes.set_ylabel(names[1], fontsize=9)
    axes.tick_params(labelsize=8, colors=GREY)


def maps_picture(spec: DataSpec, maps: Mapping[str, Tensor], label: Tensor | None) -> Any:
    """A PIL image of point clouds [N, 2] side by side under their titles, coloured by class."""
    figure = _figure(5.2 * len(maps) + 1.2, 5.2)
    classes = spec.classes if label is not None else 0
    palette = _palette(max(classes, 1))
    names = spec.class_names or tuple(str(number) for number in range(classes))
    for place, (title, points) in enumerate(maps.items(), start=1):
        axes = figure.add_subplot(1, len(maps), place)
        for number in range(-1, classes):
            here = points if label is None else points[label == number]
            if len(here):
                colour = palette[number] if number >= 0 else GREY if classes else "#2b6cb0"
                name = names[number] if number >= 0 else "unknown" if classes else None
                size = max(4.0, min(20.0, 12000 / len(points)))
                axes.scatter(here[:, 0], here[:, 1], s=size, color=colour, linewidths=0, alpha=0.8, label=name)
            if label is None:
                break
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#d1d5db")
    if classes:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6)
    return _image(figure)


def _palette(count: int) -> list[Any]:
    from matplotlib import colormaps

    few = colormaps["tab10"].colors  # type: ignore[attr-defined]
    return list(few) if count <= 10 else [colormaps["nipy_spectral"](k / (count - 1) * 0.92) for k in range(count)]


# -- rows of tables and vectors --------------------------------------------------------------------------------------


def _sheets(spec: DataSpec, x: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Any:
    """x [R, S, D]: a sheet for each row, a line a column of the data; colours say above (red) or below the mean."""
    shown = min(len(rows), MOST_PANELS)
    tints, texts, names = _sheet_cells(spec, x[:shown])
    lines, steps = tints.shape[1:]
    written = lines <= TEXT_ROWS and steps <= TEXT_STEPS
    wide, tall = (1.4 + 0.78 * steps, 0.24 * lines + 0.55) if written else (6.0, max(1.2, 0.05 * lines + 0.6))
    figure = _figure(wide + 1.2, tall * shown)
    for place in range(shown):
        axes = figure.add_subplot(shown, 1, place + 1)
        axes.imshow(tints[place], cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto", interpolation="nearest")
        if written:
            for line, step in np.ndindex(lines, steps):
                colour = "white" if abs(tints[place, line, step]) > DARK else INK
                axes.text(step, line, texts[place][line][step], ha="center", va="center", fontsize=7, color=colour)
        axes.set_yticks(range(lines) if lines <= TEXT_ROWS else [], names if lines <= TEXT_ROWS else [], fontsize=7)
        axes.set_xticks(range(len(columns)), columns, fontsize=7, color=GREY)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(rows[place], fontsize=9, color=INK, loc="left")
    return _image(figure)


def _sheet_cells(spec: DataSpec, x: Tensor) -> tuple[np.ndarray, list[list[list[str]]], list[str]]:
    """Tints (R, lines, S) in standard deviations, the texts of the cells, and the names of the lines."""
    down, across = x.shape[:2]
    flat = x.flatten(0, 1).nan_to_num()
    frame = decoded_frame(spec, flat)
    names = [str(name) for name in frame.columns][:MOST_COLUMNS] if spec.columns else [str(n) for n in frame.columns]
    known = {column.name: column for column in spec.columns}
    tints, texts = [], []
    for place, name in enumerate(names):
        column = known.get(name)
        values = frame.iloc[:, place]
        category = column is not None and column.kind == "category"
        start = column.start if column is not None else place
        tints.append(torch.zeros(len(flat)) if category else flat[:, start])
        texts.append([_short(value) for value in values])
    grid = torch.stack(tints).view(len(names), down, across).transpose(0, 1).numpy()
    words = [[line[row * across : (row + 1) * across] for line in texts] for row in range(down)]
    return grid, words, [name[:22] for name in names]


def _short(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if not isinstance(value, int | float | np.number):
        return str(value)[:11]
    number = float(value)
    return f"{number:.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}"


def _surfaces(spec: DataSpec, x: Tensor, values: Sequence[float], names: Sequence[str]) -> Any:
    """x [S, S, D]: for every column of the data a map of its value over the plane of codes."""
    steps = len(values)
    frame = decoded_frame(spec, x.flatten(0, 1))
    known = {column.name: column for column in spec.columns}
    shown = list(frame.columns)[:MOST_PANELS]
    across = min(4, len(shown))
    down = math.ceil(len(shown) / across)
    figure = _figure(2.7 * across, 2.4 * down)
    extent = (values[0], values[-1], values[0], values[-1])
    for place, name in enumerate(shown, start=1):
        axes = figure.add_subplot(down, across, place)
        axes.set_title(str(name)[:24], fontsize=8, color=INK)
        column = known.get(str(name))
        if column is not None and column.kind == "category":
            index = x.flatten(0, 1)[:, column.slice].argmax(dim=1).view(steps, steps).numpy()
            axes.imshow(index, cmap="tab10", vmin=0, vmax=9, extent=extent, aspect="auto", interpolation="nearest")
            for number in np.unique(index):
                rows, places = np.nonzero(index == number)
                spot = (values[int(places.mean())], values[steps - 1 - int(rows.mean())])
                axes.text(
                    *spot, str(column.categories[number])[:12], ha="center", va="center", fontsize=7, color="white"
                )
        else:
            field = frame[name].to_numpy(dtype=np.float64).reshape(steps, steps)
            drawn = axes.imshow(field, cmap="viridis", extent=extent, aspect="auto")
            figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.03).ax.tick_params(labelsize=6)
        axes.tick_params(labelsize=6, colors=GREY)
        if place > len(shown) - across:
            axes.set_xlabel(names[0], fontsize=7)
        if place % across == 1 or across == 1:
            axes.set_ylabel(names[1], fontsize=7)
    return _image(figure)


# -- figures ---------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float, *, plot: bool = True) -> Any:
    """A figure of its own, laid out as a plot or pixel by pixel: nothing global, so threads and notebooks are safe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=PLOT_DOTS if plot else DOTS, layout="constrained" if plot else None)
    FigureCanvasAgg(figure)
    return figure


def _image(figure: Any) -> Any:
    from PIL import Image

    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
