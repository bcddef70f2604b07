"""What is known of pictures that are to be restored: some of their pixels, their coarse part, or their brightness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec, OptionError, Unsupported, did_you_mean, listing
from exnihilo.probability.projections import Agreement, coarse, grey, known

Places = Callable[[int, int], Tensor]  # height, width -> [H, W] True = hidden


def _half(axis: int, last: bool) -> Places:
    def hidden(height: int, width: int) -> Tensor:
        sides, place = (height, width), [torch.arange(height)[:, None], torch.arange(width)[None]][axis]
        within = place >= sides[axis] // 2 if last else place < sides[axis] // 2
        return within.expand(height, width)

    return hidden


def _box(height: int, width: int) -> Tensor:
    hidden = torch.zeros(height, width, dtype=torch.bool)
    hidden[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return hidden


def _pixels(height: int, width: int) -> Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(0)) < 0.5


#: What is hidden, by name.
MASKS: dict[str, Places] = {
    "half": _half(0, True),
    "upper": _half(0, False),
    "left": _half(1, False),
    "right": _half(1, True),
    "box": _box,
    "border": lambda height, width: ~_box(height, width),
    "lines": lambda height, width: (torch.arange(height)[:, None] % 2 == 1).expand(height, width),
    "pixels": _pixels,
}
WORDS = {
    "half": "the lower half", "upper": "the upper half", "left": "the left half", "right": "the right half",
    "box": "a box in the middle", "border": "all but the middle", "lines": "every other line",
    "pixels": "half of the pixels",
}  # fmt: skip


@dataclass(frozen=True)
class KnownPart:
    """What is known, as a rule that puts it into other pictures."""

    words: str
    agree: Agreement
    mask: Tensor | None = None  # [1, H, W] True = known
    factor: int = 1

    def of(self, x: Tensor) -> Tensor:
        """What is known of pictures x [B, C, H, W] alone; the middle grey where nothing is."""
        return self.agree(torch.zeros_like(x), x)


def known_part(
    spec: DataSpec, *, mask: str | Tensor | None = None, factor: int | None = None, colour: bool = False
) -> KnownPart:
    """The part that is known of pictures, from one of: a mask by name (`MASKS`) or as bool [H, W], True = known; the
    factor by which pictures were made smaller; colour: that everything but colour is known."""
    if spec.kind != "image":
        raise Unsupported(
            f"Only pictures are restored, and this model was trained on {spec.kind} data. Gaps of other data are filled"
            " by `exnihilo impute`."
        )
    if (mask is not None) + (factor is not None) + colour != 1:
        raise OptionError(
            "Say what is to be restored, and one thing only: what a mask hides (mask=half), detail of pictures that"
            " are too small (factor=2), or colour (colour=True)."
        )
    if mask is not None:
        return _masked(spec, mask)
    if colour:
        if spec.shape[0] != 3:
            raise DataError("Only a model of colour pictures can colour; this one was trained on grey ones.")
        return KnownPart("colour is unknown", grey())
    assert factor is not None
    largest = min(spec.shape[1:])
    if not 2 <= factor <= largest:
        raise OptionError(f"factor={factor} is not allowed. It takes a whole number from 2 to {largest}, the side.")
    return KnownPart(f"{factor} times smaller", coarse(factor), factor=factor)


def _masked(spec: DataSpec, mask: str | Tensor) -> KnownPart:
    height, width = spec.shape[1:]
    words = "what the mask hides"
    if isinstance(mask, str):
        if mask not in MASKS:
            hint = did_you_mean(mask, MASKS)
            raise OptionError(
                f"There is no mask {mask!r}.{hint} It is one of {listing(MASKS)}, or the file of a picture."
            )
        words, mask = WORDS[mask], ~MASKS[mask](height, width)
    if mask.dtype != torch.bool or mask.shape != (height, width):
        raise DataError(
            f"The mask is {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}; it must be bool"
            f" {(height, width)}, True where a pixel is known."
        )
    if mask.all():
        raise DataError("The mask hides nothing: every pixel is known. Paint white what is to be drawn anew.")
    if not mask.any():
        raise DataError("The mask hides everything: nothing is left to go by. New pictures are drawn by `sample`.")
    return KnownPart(f"{words} hidden ({float((~mask).double().mean()):.0%})", known(mask[None]), mask[None])
