"""The picture of the f-divergences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exnihilo.explore.divergences import ACROSS, draw_divergences
from exnihilo.models.gans.divergences import divergences


def test_every_divergence_has_a_panel_with_its_curves(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "divergences.png"
    draw_divergences(path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    down = -(-(len(divergences()) + 1) // ACROSS)
    for place in range(len(divergences())):
        row, column = divmod(place, ACROSS)
        panel = pixels[row * height // down : (row + 1) * height // down, column * width // ACROSS :]
        panel = panel[:, : width // ACROSS]
        for colour in ((31, 119, 180), (255, 127, 14)):  # f and its conjugate
            assert (np.abs(panel - colour).sum(axis=2) < 30).sum() > 50, list(divergences())[place]
