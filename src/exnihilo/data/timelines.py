"""Texts, sounds and series as pictures: pages, waveforms above their spectrograms, lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from exnihilo.core import DataSpec
from exnihilo.data.figures import BLUE, GREY, drawn, new_figure

TEXTS, LETTERS, LINES = 8, 96, 14  # shown at most: texts, letters a line, lines a text
SOUNDS, SERIES = 8, 16
LABEL = {"fontsize": 7.5, "color": GREY}
SMALL = {"fontsize": 6.5, "color": GREY}
COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#b83280", "#6b46c1", "#975a16", "#00a3c4", "#c53030")


# -- text ------------------------------------------------------------------------------------------------------------


def text_picture(spec: DataSpec, x: Tensor) -> Any:
    """A page of the first texts, each under its number; what has no shape of its own is shown as ␣ or □."""
    from PIL import Image, ImageDraw

    font, small = _font(14), _font(11)
    blocks = [_lines(text) for text in spec.decode(x[:TEXTS])]
    high, head, margin = 19, 24, 16
    letter = font.getlength("m")
    size = (round(LETTERS * letter) + 2 * margin, sum(head + high * len(lines) + 10 for lines in blocks) + margin)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    top = 8
    for place, lines in enumerate(blocks):
        pen.text((margin, top + 4), f"{place}", font=small, fill=GREY)
        pen.line((margin + 24, top + 11, size[0] - margin, top + 11), fill="#e2e8f0")
        for number, line in enumerate(lines):
            pen.text((margin, top + head + number * high), line, font=font, fill="#1a202c")
        top += head + high * len(lines) + 10
    return page


def _lines(text: str) -> list[str]:
    """Wrapped to the page; signs without a shape are made visible."""
    plain = "".join(sign if sign.isprintable() or sign == "\n" else "␣" if sign == "\t" else "□" for sign in text)
    lines = [
        part
        for line in plain.split("\n")
        for part in (textwrap.wrap(line, LETTERS, drop_whitespace=False, replace_whitespace=False) or [""])
    ]
    return [*lines[:LINES], "..."] if len(lines) > LINES else lines


def _font(size: int) -> Any:
    """DejaVu Sans Mono, which comes with matplotlib and knows Latin, Greek and Cyrillic."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf", size)


# -- sound -----------------------------------------------------------------------------------------------------------


def audio_picture(spec: DataSpec, x: Tensor) -> Any:
    """The first sounds: waveform, as high as its peak, above spectrogram, 70 dB down from its loudest place."""
    waves = np.asarray(spec.decode(x[:SOUNDS]))
    across = min(4, len(waves))
    down = math.ceil(len(waves) / across)
    figure = new_figure(0.5 + 2.6 * across, 0.45 + 2.7 * down)
    grid = figure.add_gridspec(
        2 * down, across, height_ratios=[1, 1.6] * down, hspace=0.16, wspace=0.08,
        left=0.55 / (0.5 + 2.6 * across), right=0.99, top=1 - 0.1 / (2.7 * down), bottom=0.42 / (0.45 + 2.7 * down),
    )  # fmt: skip
    end = waves.shape[1] / spec.rate
    for place, wave in enumerate(waves):
        row, column = divmod(place, across)
        above = figure.add_subplot(grid[2 * row, column])
        above.plot(np.arange(len(wave)) / spec.rate, wave, linewidth=0.6, color=BLUE)
        peak = max(float(np.abs(wave).max()), 1e-6)
        above.set(xlim=(0, end), ylim=(-1.05 * peak, 1.05 * peak), xticks=[], yticks=[0])
        above.text(0.99, 0.97, f"peak {peak:.2g}", ha="right", va="top", transform=above.transAxes, **SMALL)
        below = figure.add_subplot(grid[2 * row + 1, column])
        below.imshow(
            spectrogram(wave), origin="lower", aspect="auto", extent=(0, end, 0, spec.rate / 2000), cmap="magma",
            vmin=-70, vmax=0, interpolation="nearest",
        )  # fmt: skip
        for axes, name in ((above, ""), (below, "kHz")):
            axes.tick_params(labelsize=6.5, colors=GREY, length=2)
            axes.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axes.set_ylabel(name, **LABEL)
            else:
                axes.set_yticklabels([])
        if row == down - 1 or place + across >= len(waves):
            below.set_xlabel("s", **LABEL)
        else:
            below.set_xticklabels([])
    return drawn(figure)


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """[frequency, time] power in dB below its maximum; Hann windows of an eighth, 64 to 512 samples, overlapping."""
    from scipy.signal import spectrogram

    length = min(len(wave), max(64, min(512, 1 << round(math.log2(max(2, len(wave) / 8))))))
    power = spectrogram(wave, window="hann", nperseg=length, noverlap=length * 3 // 4, nfft=2 * length)[2]
    return np.asarray(10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-12)))


# -- series ----------------------------------------------------------------------------------------------------------


def series_picture(spec: DataSpec, x: Tensor) -> Any:
    """The first series, one panel each in the same scales: one channel in its units, several in standard deviations.

    NaN leaves a gap.
    """
    several = spec.shape[0] > 1
    raw = np.asarray(x[:SERIES].detach().cpu() if several else spec.decode(x[:SERIES]))  # [N, C, T]
    names = [column.name for column in spec.columns] or [f"x{place}" for place in range(spec.shape[0])]
    across = min(4, len(raw))
    down = math.ceil(len(raw) / across)
    wide, tall = 0.6 + 2.6 * across, (0.85 if several else 0.5) + 1.5 * down
    figure = new_figure(wide, tall)
    grid = figure.add_gridspec(
        down, across, hspace=0.12, wspace=0.06, left=0.6 / wide, right=1 - 0.1 / wide,
        top=1 - (0.42 if several else 0.1) / tall, bottom=0.42 / tall,
    )  # fmt: skip
    low, high = _range(raw)
    for place, channels in enumerate(raw):
        axes = figure.add_subplot(grid[place // across, place % across])
        for number, values in enumerate(channels):
            axes.plot(values, linewidth=1.0, color=COLOURS[number % len(COLOURS)])
        axes.set(xlim=(0, raw.shape[2] - 1), ylim=(low, high))
        axes.tick_params(labelsize=6.5, colors=GREY, length=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#cbd5e0")
        if place % across:
            axes.set_yticklabels([])
        elif place == down // 2 * across:
            axes.set_ylabel("standard deviations" if several else names[0], **LABEL)
        if place + across < len(raw):
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("step", **LABEL)
    if several:
        _legend(figure, names)
    return drawn(figure)


def _range(raw: np.ndarray) -> tuple[float, float]:
    """Limits that hold nearly all values: a single wild sample does not flatten the others."""
    low, high = np.nanquantile(raw, [0.001, 0.999])
    room = 0.06 * float(high - low) or 1.0
    return float(low) - room, float(high) + room


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    shown = names[: len(COLOURS)]
    lines = [Line2D([], [], color=COLOURS[number], linewidth=1.5) for number in range(len(shown))]
    rest = f"(and {len(names) - len(shown)} more)" if len(names) > len(shown) else None
    legend = figure.legend(
        lines, shown, loc="upper center", ncols=len(shown), fontsize=7, frameon=False, labelcolor=GREY, handlelength=1.2
    )
    if rest:
        legend.set_title(rest, prop={"size": 6.5})
