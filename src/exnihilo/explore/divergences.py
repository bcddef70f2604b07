"""The f-divergences in one picture: what each costs, and what it makes of a critic's score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from exnihilo.explore.pictures import GREY, INK, PLOT_DOTS
from exnihilo.models.gans.divergences import Divergence, divergences

ACROSS = 4  # panels in a row
RATIOS, SCORES, HEIGHTS = (0.02, 4.0), (-3.0, 3.0), (-2.2, 4.0)


def draw_divergences(path: str | Path) -> None:
    """A PNG with a panel for every f-divergence: f over the ratio u, f* over T, and f*(g(v)) over the score v.

    Dots mark equal densities: u = 1 and T = f'(1), which are one point of the game. Raises OSError where the file
    cannot be written.
    """
    from matplotlib.figure import Figure

    rows = divergences()
    down = -(-(len(rows) + 1) // ACROSS)
    figure = Figure(figsize=(3.2 * ACROSS, 2.7 * down), dpi=PLOT_DOTS, layout="constrained")
    for place, row in enumerate(rows.values(), start=1):
        axes = figure.add_subplot(down, ACROSS, place)
        _panel(axes, row)
    key = figure.add_subplot(down, ACROSS, len(rows) + 1)
    key.set_axis_off()
    key.legend(*axes.get_legend_handles_labels(), fontsize=9, frameon=False, loc="center")
    figure.savefig(path, format="png")


def _panel(axes: Any, row: Divergence) -> None:
    """The three curves of one divergence."""
    u = torch.linspace(*RATIOS, 400, dtype=torch.float64)
    v = torch.linspace(-12.0, 12.0, 1200, dtype=torch.float64)
    t = row.activation(v)
    axes.plot(u, row.generator(u), color="C0", label="f(u),  u = p / q")
    axes.plot(t, row.conjugate(t), color="C1", label="f*(T),  T = g(v)")
    axes.plot(v, row.composite(v), color="C2", linestyle=":", label="f*(g(v)),  v the score")
    equal = torch.ones((), dtype=torch.float64)
    threshold = torch.full_like(equal, row.threshold)
    axes.plot(equal, row.generator(equal), "o", color="C0", markersize=4)
    axes.plot(threshold, row.conjugate(threshold), "o", color="C1", markersize=4)
    axes.axhline(0, color="#d1d5db", linewidth=0.7, zorder=0)
    axes.axvline(0, color="#d1d5db", linewidth=0.7, zorder=0)
    axes.set(xlim=(SCORES[0], RATIOS[1]), ylim=HEIGHTS)
    axes.set_title(row.name, fontsize=9, color=INK)
    axes.set_xlabel(f"f(u) = {row.written.generator}", fontsize=6.5, color=GREY)
    axes.tick_params(labelsize=7, colors=GREY)
    axes.spines[["top", "right"]].set_visible(False)
