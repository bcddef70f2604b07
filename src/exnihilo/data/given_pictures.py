"""The user's own pictures and masks as a trained model reads them: its size, its channels, its levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec, listing
from exnihilo.data.folders import find_files
from exnihilo.data.pictures import COLOUR_MODES, SUFFIXES, Frame, look, read_picture

WHITE = 128  # grey values from here on are white in a mask


@dataclass(frozen=True)
class GivenPictures:
    """Pictures in model space, their names, their sizes before, and what was done to them."""

    x: Tensor  # [N, *shape]
    names: list[str]
    sizes: set[tuple[int, int]]  # height and width
    notes: list[str] = field(default_factory=list)


def given_pictures(spec: DataSpec, source: str | Path, *, grey: bool = False, reduced: int = 1) -> GivenPictures:
    """A picture file, or all of a folder, brought to what the model was trained on; what that took stands in `notes`.

    Another size is resized by the shorter side and cropped around the middle. grey: colour is left out, also for a
    model of colour pictures, whose channels are then equal; else a colour picture is refused by a model of grey ones.
    reduced: the pictures are so many times smaller than the model's, and every pixel of them becomes a square.
    """
    if spec.kind != "image":
        raise DataError(f"The model was trained on {spec.kind} data, so it reads no pictures.")
    notes: list[str] = []
    paths, names = _files(Path(source), notes)
    height, width = (-(-side // reduced) for side in spec.shape[1:])
    looks = [look(path, name) for path, name in zip(paths, names, strict=True)]
    sizes = {(seen.height, seen.width) for seen in looks}
    pictures = []
    for path, name, seen in zip(paths, names, looks, strict=True):
        exact = (seen.height, seen.width) == (height, width)
        colour = not grey and (seen.mode in COLOUR_MODES or spec.shape[0] == 3)
        raw = read_picture(path, name, Frame(height, width, 3 if colour else 1, 256, exact))
        pictures.append(_channels(raw, spec.shape[0], name))
    if sizes != {(height, width)}:
        span = listing(f"{wide} x {high}" for high, wide in sorted(sizes)[:3])
        more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
        notes.append(
            f"{span}{more} resized to {width} x {height} by the shorter side, and cropped around the middle, as the"
            " model takes them."
        )
    if spec.levels != 256:
        notes.append(f"256 grey values were rounded to the {spec.levels} levels of the model's data.")
    x = from_bytes(spec, torch.stack(pictures))
    x = x.repeat_interleave(reduced, dim=-2).repeat_interleave(reduced, dim=-1)[..., : spec.shape[1], : spec.shape[2]]
    return GivenPictures(x, names, sizes, notes)


def _files(source: Path, notes: list[str]) -> tuple[list[Path], list[str]]:
    if source.is_dir():
        names = find_files(source, SUFFIXES, "pictures", 1, notes)
        return [source / name for name in names], names
    if not source.is_file():
        raise DataError(f"There is no file or folder {str(source)!r}. Name a picture, or a folder of them.")
    return [source], [source.name]


def _channels(raw: Tensor, channels: int, name: str) -> Tensor:
    """[C, H, W] bytes with as many channels as the model has."""
    if channels == 1 and len(raw) == 3 and not bool((raw[:1] == raw).all()):
        raise DataError(
            f"{name} is a picture in colour, and the model was trained on grey ones. Make it grey: -d color=grey."
        )
    return raw[:channels].expand(channels, -1, -1)


def from_bytes(spec: DataSpec, raw: Tensor) -> Tensor:
    """[N, C, H, W] bytes 0 ... 255 -> model space, at the nearest of the data's levels."""
    return spec.from_levels((raw.double() * ((spec.levels - 1) / 255)).round().long())


def given_mask(spec: DataSpec, path: str | Path, sizes: Sequence[tuple[int, int]] = ()) -> Tensor:
    """[H, W] True = known: black in the picture of a mask; white is what is to be drawn.

    It has the size of the model's pictures, or the one size of the pictures it goes with (`sizes`), and is then resized
    and cropped as these are.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}. Name a picture: white is what is to be drawn.")
    seen = look(path, path.name)
    size, (height, width) = (seen.height, seen.width), spec.shape[1:]
    if size != (height, width) and set(sizes) != {size}:
        own = listing(f"{wide} x {high}" for high, wide in sorted({(height, width), *sizes}))
        raise DataError(
            f"The mask {path.name} is {seen.width} x {seen.height}; it must be as large as the pictures: {own}."
        )
    return read_picture(path, path.name, Frame(height, width, 1, 256, size == (height, width)))[0] < WHITE
