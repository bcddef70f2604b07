"""Data and samples as pictures and as files: grids, scatters, marginals, ...; PNG, CSV, TXT, WAV, NPZ."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from exnihilo.core import Column, DataError, DataSpec
from exnihilo.data.audio_files import save_wave
from exnihilo.data.figures import BLUE, ORANGE, drawn, new_figure
from exnihilo.data.timelines import audio_picture, series_picture, text_picture

CELL = 64  # smallest side of a picture in a grid
GAP = 2
MOST_PANELS = 24
MOST_BARS = 12
SILENCE = 0.25  # seconds between sounds in one file


def picture(spec: DataSpec, x: Tensor, *, columns: int = 8) -> Any:
    """A PIL image of examples in model space: a grid of pictures, a scatter of points, each column's histogram, a page
    of texts, waveforms with spectrograms, or lines.

    Small pictures are enlarged by a whole factor, so that every pixel stays a square.
    """
    if spec.kind == "image":
        return _grid(as_bytes(spec, x), columns)
    if spec.kind == "vector" and spec.shape == (2,) and not spec.levels:
        return _scatter(spec, x)
    if spec.kind == "vector" and spec.levels == 2 and (side := math.isqrt(spec.size)) ** 2 == spec.size and side > 2:
        return _grid((x.detach().cpu().view(-1, side, side) * 255).round().numpy().astype(np.uint8), columns)
    in_time = {"text": text_picture, "audio": audio_picture, "series": series_picture}
    return in_time[spec.kind](spec, x) if spec.kind in in_time else _marginals(spec, x)


def as_bytes(spec: DataSpec, x: Tensor) -> np.ndarray:
    """Model space [N, C, H, W] -> bytes (N, H, W) or (N, H, W, 3) that fill 0 ... 255, whatever the levels."""
    raw = np.asarray(spec.decode(x)).astype(np.float64)
    return np.round(raw * (255 / (spec.levels - 1))).astype(np.uint8)


def _grid(pictures: np.ndarray, columns: int) -> Any:
    """Cells in reading order with a white gap."""
    from PIL import Image

    factor = max(1, math.ceil(CELL / max(pictures.shape[1:3])))
    pictures = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    columns = max(1, min(columns, len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width = pictures.shape[1:3]
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, *pictures.shape[3:]), 255, np.uint8)
    for place, cell in enumerate(pictures):
        top, left = GAP + place // columns * (height + GAP), GAP + place % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = cell
    return Image.fromarray(canvas)


def _scatter(spec: DataSpec, x: Tensor) -> Any:
    raw = np.asarray(spec.decode(x))
    figure = new_figure(5, 5)
    axes = figure.add_subplot()
    axes.scatter(raw[:, 0], raw[:, 1], s=max(1.0, min(12.0, 6000 / len(raw))), alpha=0.5, linewidths=0, color=BLUE)
    axes.set_aspect("equal", adjustable="datalim")
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.1, top=0.97)
    names = column_names(spec)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    return drawn(figure)


def _marginals(spec: DataSpec, x: Tensor) -> Any:
    """One panel a column, up to 24: bars of categories, histograms of numbers."""
    frame = decoded_frame(spec, x)
    names = list(frame.columns)[:MOST_PANELS]
    across = min(4, len(names))
    down = math.ceil(len(names) / across)
    figure = new_figure(3 * across, 2.2 * down)
    figure.subplots_adjust(
        left=0.5 / (3 * across), right=1 - 0.15 / (3 * across), bottom=0.3 / (2.2 * down), top=1 - 0.4 / (2.2 * down),
        wspace=0.25, hspace=0.4,
    )  # fmt: skip
    known = {column.name: column for column in spec.columns}
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(down, across, place)
        axes.set_title(name if len(name) < 30 else name[:28] + "...", fontsize=9)
        _panel(axes, frame[name], known.get(name))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    if len(frame.columns) > MOST_PANELS:
        figure.text(0.99, 0.995, f"{MOST_PANELS} of {len(frame.columns)} columns", ha="right", va="top", fontsize=8)
    return drawn(figure)


def _panel(axes: Any, values: Any, column: Column | None) -> None:
    if column is not None and column.kind == "category":
        counts = values.map(lambda value: "missing" if value is None or value != value else str(value)).value_counts()
        shown = counts[:MOST_BARS][::-1]
        axes.barh(range(len(shown)), shown.to_numpy(), color=ORANGE)
        axes.set_yticks([])
        for place, name in enumerate(shown.index):  # inside, where any length has room
            axes.text(0, place, f" {name[:30]}", va="center", fontsize=7)
        if len(counts) > MOST_BARS:
            axes.text(0.98, 0.05, f"{MOST_BARS} of {len(counts)}", ha="right", transform=axes.transAxes, fontsize=7)
        return
    numbers = values.dropna().to_numpy(dtype=np.float64)
    if not len(numbers):
        axes.text(0.5, 0.5, "all missing", ha="center", va="center", transform=axes.transAxes, fontsize=8)
        return
    counts, edges = np.histogram(numbers, bins=_edges(numbers, column.step if column is not None else 0.0))
    axes.stairs(counts, edges, fill=True, color=BLUE)
    if missing := len(values) - len(numbers):
        axes.text(0.98, 0.95, f"{missing} missing", ha="right", va="top", transform=axes.transAxes, fontsize=7)


def _edges(numbers: np.ndarray, step: float) -> np.ndarray:
    """The borders of about sqrt(n) bins, whole steps wide where the column has steps, so that none looks too full."""
    low, high = float(numbers.min()), float(numbers.max())
    count = int(min(40, max(10, math.sqrt(len(numbers)))))
    if not step or high == low:
        return np.linspace(low, high if high > low else low + 1, count + 1)
    width = step * math.ceil(((high - low) / step + 1) / count)
    return np.arange(low - step / 2, high + width, width)


def column_names(spec: DataSpec) -> list[str]:
    """Of a vector, a table or the channels of series; x0, x1, ... where they have no names."""
    count = spec.shape[0] if spec.kind == "series" else spec.size
    return [column.name for column in spec.columns] or [f"x{place}" for place in range(count)]


def decoded_frame(spec: DataSpec, x: Tensor) -> Any:
    """A DataFrame in original units: of tables, vectors, and series, whose rows are the steps of one sample after the
    other and begin with the numbers of sample and step."""
    import pandas as pd

    raw = spec.decode(x)
    if spec.kind == "series":
        count, channels, time = raw.shape
        frame = pd.DataFrame(np.moveaxis(raw, 1, 2).reshape(-1, channels), columns=column_names(spec))
        frame.insert(0, "sample", np.repeat(np.arange(count), time), allow_duplicates=True)
        frame.insert(1, "step", np.tile(np.arange(time), count), allow_duplicates=True)
        return frame
    return raw if spec.kind == "table" else pd.DataFrame(raw, columns=column_names(spec))


def with_dates(spec: DataSpec, frame: Any) -> Any:
    """The rows with days since 1970 written as the dates that the source held; impossible ones are missing."""
    import pandas as pd

    frame = frame.copy()
    for column in spec.columns:
        if column.date:
            moments = pd.to_datetime(frame[column.name], unit="D", errors="coerce").dt.round("s")
            form = "%Y-%m-%d" if column.step else "%Y-%m-%d %H:%M:%S"
            frame[column.name] = moments.dt.strftime(form)
    return frame


# -- files -----------------------------------------------------------------------------------------------------------


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Write beside the place and move in: whoever reads `path` finds the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def save_picture(image: Any, path: Path | str, metadata: Mapping[str, object] | None = None) -> Path:
    """A PNG whose text chunks say what it shows: recipe, options, seed, hash of the weights."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for name, value in (metadata or {}).items():
        chunks.add_itxt(name, str(value))
    return write_whole(Path(path), lambda draft: image.save(draft, format="PNG", pnginfo=chunks))


def save_samples(
    spec: DataSpec,
    x: Tensor,
    path: Path | str,
    *,
    metadata: Mapping[str, object] | None = None,
    columns: int = 8,
) -> list[Path]:
    """Samples as files, and where they are.

    Pictures: one grid (.png) or a folder of numbered PNGs. Tables, vectors and series: .csv or .tsv with the original
    columns and units. Texts: one .txt or a folder of them. Sounds: one .wav with all of them, a quarter of a second of
    silence between, or a folder. Anything: a .png to look at, and .npz with the raw values as `x`.
    """
    path = Path(path)
    suffix, facts = path.suffix.lower(), metadata or {}
    rows = spec.kind in ("table", "vector", "series")
    if suffix == ".npz":
        raw = with_dates(spec, spec.decode(x)) if spec.kind == "table" else spec.decode(x)
        arrays = {name: raw[name].to_numpy() for name in raw} if spec.kind == "table" else {"x": np.asarray(raw)}
        return [write_whole(path, lambda draft: _save_arrays(draft, arrays))]
    if suffix == ".png":
        return [save_picture(picture(spec, x, columns=columns), path, metadata)]
    if rows and suffix in (".csv", ".tsv"):
        sign = "," if suffix == ".csv" else "\t"
        frame = with_dates(spec, decoded_frame(spec, x))
        return [write_whole(path, lambda draft: frame.to_csv(draft, sep=sign, index=False, float_format="%.7g"))]
    if not rows and not suffix:
        return _save_numbered(spec, x, path, facts)
    if spec.kind == "text" and suffix == ".txt":
        return [write_whole(path, lambda draft: _save_text(draft, joined_texts(spec.decode(x))))]
    if spec.kind == "audio" and suffix == ".wav":
        pause = np.zeros((len(x), round(SILENCE * spec.rate)), dtype=np.float32)
        waves = np.concatenate([spec.decode(x), pause], axis=1).ravel()[: -pause.shape[1]]
        return [write_whole(path, lambda draft: save_wave(waves, spec.rate, draft, facts))]
    allowed = {
        "image": ".png (a grid), a folder, or .npz",
        "text": ".txt, a folder (a .txt each), .npz or .png (a page)",
        "audio": ".wav, a folder (a .wav each), .npz or .png (waveforms and spectrograms)",
    }.get(spec.kind, ".csv, .tsv, .npz or .png (a plot)")
    raise DataError(f"{path}: samples of {spec.kind} data are not written there. Use {allowed}.")


def _save_arrays(draft: Path, arrays: Mapping[str, np.ndarray]) -> None:
    texts = {name: values.astype(str) if values.dtype == object else values for name, values in arrays.items()}
    with draft.open("wb") as file:
        np.savez_compressed(file, **texts)  # type: ignore[arg-type]


def _save_numbered(spec: DataSpec, x: Tensor, folder: Path, facts: Mapping[str, object]) -> list[Path]:
    """A file each: PNG, TXT or WAV."""
    from PIL import Image

    digits = len(str(len(x) - 1))
    suffix = {"image": ".png", "text": ".txt", "audio": ".wav"}[spec.kind]
    files = []
    for place, raw in enumerate(as_bytes(spec, x) if spec.kind == "image" else spec.decode(x)):
        path, own = folder / f"{place:0{digits}d}{suffix}", {**facts, "sample": place}
        if spec.kind == "image":
            save_picture(Image.fromarray(raw), path, own)
        elif spec.kind == "text":
            write_whole(path, functools.partial(_save_text, text=raw))
        else:
            write_whole(path, functools.partial(save_wave, raw, spec.rate, metadata=own))
        files.append(path)
    return files


def joined_texts(texts: Sequence[str]) -> str:
    """Several texts in one, each under its number; a single one as it is."""
    return texts[0] if len(texts) == 1 else "\n\n".join(f"=== {place} ===\n{text}" for place, text in enumerate(texts))


def _save_text(draft: Path, text: str) -> None:
    draft.write_bytes(text.encode(errors="replace") + (b"" if text.endswith("\n") else b"\n"))
