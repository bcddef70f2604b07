"""Series and sounds as small pictures, so that they stand in grids as pictures do: lines, and spectrograms."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from exnihilo.core import DataSpec
from exnihilo.data.timelines import COLOURS, spectrogram

WIDE, HIGH = 96, 64  # pixels
FINER = 3  # lines are drawn so many times as large, for smooth edges
FLOOR = -70.0  # decibels that are black


def sketches(spec: DataSpec, x: Tensor) -> np.ndarray:
    """(N, 64, 96, 3) bytes of examples [N, C, T]: series in one scale, a colour a channel; sounds by themselves."""
    if spec.kind == "audio":
        return np.stack([_sound(wave) for wave in np.asarray(spec.decode(x))])
    values = x.detach().cpu().numpy()
    low, high = np.quantile(values, [0.001, 0.999])
    room = 0.06 * float(high - low) or 1.0
    return np.stack([_lines(channels, float(low) - room, float(high) + room) for channels in values])


def _lines(channels: np.ndarray, low: float, high: float) -> np.ndarray:
    from PIL import Image, ImageDraw

    size = (WIDE * FINER, HIGH * FINER)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline="#e2e8f0", width=FINER)
    across = np.linspace(FINER, size[0] - FINER, channels.shape[1])
    for number, values in enumerate(channels):
        down = (high - values.clip(low, high)) / (high - low) * (size[1] - 1)
        pen.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=COLOURS[number % len(COLOURS)], width=FINER)
    return np.asarray(canvas.resize((WIDE, HIGH), Image.Resampling.LANCZOS))


def _sound(wave: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps
    from PIL import Image

    loud = (spectrogram(wave)[::-1] / -FLOOR + 1).clip(0, 1)
    colours = np.round(colormaps["magma"](loud)[..., :3] * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(colours).resize((WIDE, HIGH), Image.Resampling.BILINEAR))
