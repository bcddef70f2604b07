"""One picture: what its header says, and its pixels upright, on white, in the wanted size and channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, listing

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # as Pillow calls them
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBa", "P", "PA", "CMYK", "YCbCr"})
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
ORIENTATION = 0x0112


class Look(NamedTuple):
    """What the header says of a picture, held upright."""

    height: int
    width: int
    mode: str  # Pillow's
    frames: int


class Frame(NamedTuple):
    """What all pictures of a set are brought to."""

    height: int
    width: int
    channels: int  # 1 or 3
    levels: int  # 256, or 2 for black and white
    exact: bool  # every picture has this size already; else resized by the shorter side and cropped in the middle

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one example."""
        return self.channels, self.height, self.width


def unreadable(name: str, reason: object) -> DataError:
    """The refusal of one picture."""
    return DataError(f"{name} cannot be read as a picture ({reason}). Repair it or take it out of the folder.")


def open_picture(picture: Any, name: str) -> Any:
    """A PIL image from a path or from itself; the header only is read."""
    from PIL import Image

    if not isinstance(picture, Path):
        return picture
    Image.init()
    try:
        image = Image.open(picture, formats=FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise unreadable(name, _short(reason)) from None
    return image


def look(picture: Any, name: str) -> Look:
    """The header of a picture; an unknown pixel format is refused by name."""
    image = open_picture(picture, name)
    if image.mode not in GREY_MODES | COLOUR_MODES:
        raise unreadable(name, f"its pixels are of mode {image.mode}; grey, RGB, RGBA, palette and CMYK are read")
    told = {"exif", "xmp", "XML:com.adobe.xmp"} & set(image.info)  # else a PNG would be decoded to look further
    sideways = bool(told) and image.getexif().get(ORIENTATION) in SIDEWAYS
    height, width = (image.width, image.height) if sideways else (image.height, image.width)
    seen = Look(height, width, image.mode, getattr(image, "n_frames", 1) if image.format != "MPO" else 1)
    if isinstance(picture, Path):
        image.close()
    return seen


def read_picture(picture: Any, name: str, frame: Frame) -> Tensor:
    """[C, H, W] uint8 levels."""
    from PIL import Image, ImageOps

    image = open_picture(picture, name)
    try:
        if not frame.exact and isinstance(picture, Path):
            image.draft(None, (2 * frame.width, 2 * frame.height))  # JPEG: decode at a fraction where that suffices
        upright = ImageOps.exif_transpose(image)
        flat = flatten(upright, frame.channels)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as reason:
        raise unreadable(name, _short(reason)) from None
    finally:
        if isinstance(picture, Path):
            image.close()
    if not frame.exact:
        flat = ImageOps.fit(flat, (frame.width, frame.height), Image.Resampling.LANCZOS)
    if flat.size != (frame.width, frame.height):
        raise unreadable(
            name, f"it is {flat.width} x {flat.height}, not {frame.width} x {frame.height} as its header said"
        )
    pixels = np.array(flat, dtype=np.uint8)
    if frame.levels == 2:
        pixels = (pixels >= 128).astype(np.uint8)
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def flatten(image: Any, channels: int) -> Any:
    """Grey (mode L) or colour (mode RGB) of 8 bits: transparency laid on white, 16 bits reduced."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.round(values.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def choose_frame(looks: list[Look], size: int | None, color: str, notes: list[str]) -> Frame:
    """One size and colour for all pictures; notes say what was assumed and which option changes it."""
    modes = {seen.mode for seen in looks}
    grey = sum(seen.mode in GREY_MODES for seen in looks)
    channels = {"grey": 1, "rgb": 3, "auto": 1 if grey == len(looks) else 3}[color]
    if color == "auto" and 0 < grey < len(looks):
        notes.append(f"{grey} of {len(looks)} pictures are grey and were made RGB (-d color=grey makes all grey).")
    if sixteen := sum(seen.mode.startswith("I") for seen in looks):
        notes.append(f"{sixteen} pictures of 16 bits were reduced to 256 levels.")
    if clear := sum(seen.mode in ("RGBA", "RGBa", "LA", "La", "PA") for seen in looks):
        notes.append(f"{clear} pictures have transparency and were laid on white.")
    if moving := sum(seen.frames > 1 for seen in looks):
        notes.append(f"{moving} pictures move: only their first frame was taken.")
    sizes = {(seen.height, seen.width) for seen in looks}
    if len(sizes) == 1 and (size is None or sizes == {(size, size)}):
        height, width = sizes.pop()
        if min(height, width) > 128:
            notes.append(f"Pictures of {width} x {height} are large to learn; -d size=64 reduces them.")
        return Frame(height, width, channels, 2 if modes == {"1"} else 256, True)
    smallest, largest = min(sizes, key=min), max(sizes, key=max)
    span = " to ".join(dict.fromkeys(f"{width} x {height}" for height, width in (smallest, largest)))
    side = size or _friendly([min(seen.height, seen.width) for seen in looks])
    cropped = np.mean([1 - min(seen.height, seen.width) / max(seen.height, seen.width) for seen in looks])
    enlarged = sum(min(seen.height, seen.width) < side for seen in looks)
    notes.append(
        f"Pictures of {span} were resized to {side} x {side} by their shorter side"
        + (f", and {cropped:.0%} of their area cropped around the middle" if cropped else "")
        + ("" if size else " (-d size= changes it)")
        + (f"; {enlarged} were smaller and enlarged." if enlarged else ".")
    )
    return Frame(side, side, channels, 256, False)


def _friendly(sides: list[int]) -> int:
    """The power of two at or below the median side, from 8 to 64."""
    return max(8, min(64, 2 ** (int(np.median(sides)).bit_length() - 1)))


def _short(reason: object) -> str:
    text = str(reason).split("\n")[0]
    return "not PNG, JPEG, WebP or BMP" if "cannot identify" in text or "unknown format" in text else text


def name_some(names: list[str], most: int = 5) -> str:
    """The first few names and how many more there are."""
    return listing(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
