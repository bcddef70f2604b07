from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exnihilo.core import DataError, DataSpec
from exnihilo.data.given_pictures import from_bytes, given_mask, given_pictures
from exnihilo.data.render import as_bytes

GREY = DataSpec("image", (1, 8, 8), levels=17)
COLOUR = DataSpec("image", (3, 8, 6), levels=256)


def draw(path: Path, *shape: int, seed: int = 0) -> np.ndarray:
    raw = np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)
    Image.fromarray(raw).save(path)
    return raw


def test_pictures_of_the_right_size_are_read_to_the_level(tmp_path: Path) -> None:
    levels = torch.arange(64).view(1, 1, 8, 8) % 17
    x = GREY.from_levels(levels)
    Image.fromarray(as_bytes(GREY, x)[0]).save(tmp_path / "one.png")
    given = given_pictures(GREY, tmp_path / "one.png")
    assert torch.equal(given.x, x)
    assert given.names == ["one.png"]
    assert given.notes == ["256 grey values were rounded to the 17 levels of the model's data."]
    raw = draw(tmp_path / "two.png", 8, 6, 3)
    given = given_pictures(COLOUR, tmp_path / "two.png")
    assert given.notes == []
    np.testing.assert_array_equal(COLOUR.decode(given.x)[0], raw)


def test_other_sizes_are_brought_to_the_model_s_and_told(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 30, 20)
    draw(tmp_path / "b.png", 8, 8)
    given = given_pictures(GREY, tmp_path)
    assert given.x.shape == (2, 1, 8, 8)
    assert given.sizes == {(30, 20), (8, 8)}
    assert any("20 x 30 resized to 8 x 8 by the shorter side" in note for note in given.notes)


def test_colour_is_refused_by_a_grey_model_until_it_is_made_grey(tmp_path: Path) -> None:
    draw(tmp_path / "red.png", 8, 8, 3)
    with pytest.raises(DataError, match=r"red\.png is a picture in colour.*-d color=grey"):
        given_pictures(GREY, tmp_path / "red.png")
    assert given_pictures(GREY, tmp_path / "red.png", grey=True).x.shape == (1, 1, 8, 8)
    same = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 3, axis=-1)
    Image.fromarray(same).save(tmp_path / "same.png")  # stored in colour, but grey
    assert given_pictures(GREY, tmp_path / "same.png").x.shape == (1, 1, 8, 8)
    draw(tmp_path / "grey.png", 8, 6)
    x = given_pictures(COLOUR, tmp_path / "grey.png").x
    assert torch.equal(x[:, 0], x[:, 1])


def test_small_pictures_become_squares(tmp_path: Path) -> None:
    draw(tmp_path / "small.png", 4, 4)
    x = given_pictures(GREY, tmp_path / "small.png", reduced=2).x
    assert x.shape == (1, 1, 8, 8)
    assert torch.equal(x[..., ::2, ::2], x[..., 1::2, 1::2])
    draw(tmp_path / "uneven.png", 3, 3)
    assert given_pictures(GREY, tmp_path / "uneven.png", reduced=3).x.shape == (1, 1, 8, 8)


def test_masks_are_as_large_as_the_pictures(tmp_path: Path) -> None:
    hidden = np.zeros((8, 8), dtype=np.uint8)
    hidden[4:] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    mask = given_mask(GREY, tmp_path / "mask.png")
    assert mask[:4].all()
    assert not mask[4:].any()
    Image.fromarray(np.repeat(np.repeat(hidden, 5, axis=0), 5, axis=1)).save(tmp_path / "large.png")
    assert torch.equal(given_mask(GREY, tmp_path / "large.png", [(40, 40)]), mask)
    with pytest.raises(DataError, match=r"large\.png is 40 x 40; it must be as large as the pictures: 8 x 8"):
        given_mask(GREY, tmp_path / "large.png")
    with pytest.raises(DataError, match=r"no file .*nothing\.png"):
        given_mask(GREY, tmp_path / "nothing.png")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png cannot be read as a picture"):
        given_pictures(GREY, tmp_path / "text.png")
    with pytest.raises(DataError, match="no file or folder"):
        given_pictures(GREY, tmp_path / "nowhere")
    with pytest.raises(DataError, match="trained on vector data"):
        given_pictures(DataSpec("vector", (2,)), tmp_path / "text.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds 0 pictures"):
        given_pictures(GREY, tmp_path / "empty")


def test_bytes_go_to_the_nearest_level_and_back() -> None:
    x = GREY.from_levels(torch.arange(17).repeat(4)[:64].view(1, 1, 8, 8))
    assert torch.equal(from_bytes(GREY, torch.from_numpy(as_bytes(GREY, x))[:, None]), x)
