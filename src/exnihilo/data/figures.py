"""matplotlib figures that are nobody else's, and the PIL images they become."""

from __future__ import annotations

from typing import Any

import numpy as np

INCHES = 100  # dots of a plot
BLUE, ORANGE, INK, GREY = "#2b6cb0", "#f6ad55", "#1a202c", "#718096"


def new_figure(width: float, height: float) -> Any:
    """A figure of its own: nothing global, so threads and notebooks are left alone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=INCHES)


def drawn(figure: Any) -> Any:
    """The figure as a PIL image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
