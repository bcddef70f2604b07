from __future__ import annotations

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, DataSpec
from exnihilo.explore.pictures import layout_of, plane_picture, rows_picture
from exnihilo.explore.sketches import HIGH, WIDE, sketches

SERIES, SOUND = DataSpec("series", (2, 32)), DataSpec("audio", (1, 512), rate=8000.0)


def test_a_line_stands_where_its_values_are():
    x = torch.zeros(2, 2, 32)
    x[0, 0], x[0, 1], x[1, 0] = 1.0, -1.0, 1.0
    drawn = sketches(SERIES, x).astype(int)
    assert drawn.shape == (2, HIGH, WIDE, 3)
    blue = drawn[0, :, WIDE // 2, 2] - drawn[0, :, WIDE // 2, 0]
    assert 1 < blue[1:-1].argmax() + 1 < 8  # the first channel is blue, and high up
    orange = drawn[0, :, WIDE // 2, 0] - drawn[0, :, WIDE // 2, 2]
    assert HIGH - 8 < orange.argmax() < HIGH - 1


def test_a_tone_is_bright_at_its_frequency():
    tone = 0.5 * torch.sin(2 * np.pi * 1000 * torch.arange(512) / 8000)
    bright = sketches(SOUND, tone.view(1, 1, -1)).astype(int).sum(axis=(2, 3))[0]
    assert bright.argmax() == pytest.approx(HIGH * (1 - 1000 / 4000), abs=3)


def test_series_and_sounds_stand_in_grids():
    generator = torch.Generator().manual_seed(0)
    for spec in (SERIES, SOUND):
        assert layout_of(spec) == "grid"
        x = 0.3 * torch.randn(3, 4, *spec.shape, generator=generator)
        x[2, 3] = torch.nan
        picture = rows_picture(spec, x.clamp(-1, 1), ["a", "b", "c"], ["1", "2", "3", "4"])
        assert picture.size[0] > 4 * WIDE
        assert np.asarray(picture)[-40, -40].tolist() == [255, 255, 255]  # the empty cell
        plane_picture(spec, x[:3, :3].clamp(-1, 1), [-1.0, 0.0, 1.0], ["z0", "z1"])
    with pytest.raises(DataError, match="Texts are read"):
        layout_of(DataSpec("text", (8,), levels=5))
