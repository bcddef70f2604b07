"""Patches: entries of a map that lie together, as the channels of one place."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad


def filled(sides: Sequence[int], patch: int) -> list[int]:
    """How many patches cover each side."""
    return [-(-side // patch) for side in sides]


def into_patches(x: Tensor, patch: int) -> Tensor:
    """(B, C, *sides) -> (B, C * patch^n, *sides / patch); sides are filled up with zeros to multiples of the patch.

    Of two sides what `pixel_unshuffle` does, but for the filling.
    """
    if patch == 1:
        return x
    sides = x.shape[2:]
    x = pad(x, [end for side in reversed(sides) for end in (0, -side % patch)])
    x = x.reshape(*x.shape[:2], *[part for places in filled(sides, patch) for part in (places, patch)])
    inside, outside = range(3, x.ndim, 2), range(2, x.ndim, 2)
    return x.permute(0, 1, *inside, *outside).flatten(1, 1 + len(sides))


def from_patches(x: Tensor, patch: int, sides: Sequence[int]) -> Tensor:
    """(B, C * patch^n, *sides / patch) -> (B, C, *sides): undoes `into_patches`, cutting off what filled the sides."""
    if patch == 1:
        return x
    dims = len(sides)
    x = x.unflatten(1, (-1, *[patch] * dims))  # (B, C, patch, ..., places, ...)
    x = x.permute(0, 1, *[part for dim in range(dims) for part in (2 + dims + dim, 2 + dim)])
    x = x.reshape(*x.shape[:2], *[places * patch for places in filled(sides, patch)])
    for dim, side in enumerate(sides, start=2):
        x = x.narrow(dim, 0, side)
    return x


def into_tokens(x: Tensor, patch: int) -> Tensor:
    """(B, C, *sides) -> [B, T, C * patch^n]: the patches as a sequence, in raster order."""
    return into_patches(x, patch).flatten(2).transpose(1, 2)


def from_tokens(h: Tensor, patch: int, sides: Sequence[int]) -> Tensor:
    """[B, T, C * patch^n] -> (B, C, *sides): undoes `into_tokens`."""
    return from_patches(h.transpose(1, 2).unflatten(2, filled(sides, patch)), patch, sides)
