"""What is missing: gaps made on purpose, and gaps made ready for a model to fill."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, DataSpec, Noise, OptionError
from exnihilo.core.noise import hash_key

Mechanism = Literal["random", "block"]


def group_shape(spec: DataSpec) -> tuple[int, ...]:
    """What goes missing together: a table's columns, a picture's pixels with all channels, else single entries."""
    if spec.kind == "table":
        return (len(spec.columns),)
    return spec.shape[1:] if spec.kind == "image" else spec.shape


def spread(spec: DataSpec, groups: Tensor) -> Tensor:
    """[B, *group_shape] True = observed -> [B, *shape]. Whether a number is there at all stays known (True)."""
    if spec.kind == "image":
        return groups[:, None].expand(-1, *spec.shape)
    if spec.kind != "table":
        return groups
    mask = torch.ones(len(groups), spec.size, dtype=torch.bool)
    for place, column in enumerate(spec.columns):
        width = column.width if column.kind == "category" else 1
        mask[:, column.start : column.start + width] = groups[:, place : place + 1]
    return mask


def hide(
    spec: DataSpec, index: Tensor, *, fraction: float = 0.5, mechanism: Mechanism = "random", seed: int = 0
) -> Tensor:
    """[B, *shape] False where an entry is to be hidden; a pure function of (seed, index [B]) and the other arguments.

    random: every column (or pixel) on its own with probability `fraction`, whatever its value (missing completely at
    random, Rubin, 1976). block: that share of neighbouring columns, or a rectangle of that share of a picture. One
    column or pixel of every example is always left.
    """
    if not 0 < fraction < 1:
        raise OptionError(f"fraction={fraction} is not allowed. It takes a number above 0 and below 1; default 0.5.")
    shape = group_shape(spec)
    if math.prod(shape) < 2:
        raise DataError("These data have one column only, so nothing is left to fill it from.")
    noise = Noise(hash_key("gaps", seed, fraction, mechanism), index.tolist())
    if mechanism == "random":
        uniform = noise.uniform(*shape)
        best = uniform.flatten(1).argmax(dim=1, keepdim=True)
        groups = (uniform >= fraction).flatten(1).scatter(1, best, True).view_as(uniform)
    elif mechanism == "block":
        groups = ~_block(noise, shape, fraction)
    else:
        raise OptionError(f"mechanism={mechanism} is not allowed. It takes one of random, block; default random.")
    return spread(spec, groups)


def _block(noise: Noise, shape: tuple[int, ...], fraction: float) -> Tensor:
    """[B, *shape] True inside a box at a random place, each side the same share of its axis."""
    inside = torch.ones(len(noise), *shape, dtype=torch.bool)
    for axis, side in enumerate(shape):
        length = min(max(1, round(side * fraction ** (1 / len(shape)))), side if len(shape) > 1 else side - 1)
        start = (noise.uniform() * (side - length + 1)).long()  # [B]
        along = torch.arange(side) - start[:, None]
        within = (along >= 0) & (along < length)
        inside &= within.view(len(noise), *[side if other == axis else 1 for other in range(len(shape))])
    everything = inside.flatten(1).all(dim=1)
    inside[everything] = inside[everything].flatten(1).index_fill(1, torch.tensor([0]), False).view(-1, *shape)
    return inside


def with_gaps(data: Data, *, fraction: float = 0.5, mechanism: Mechanism = "random", seed: int = 0) -> Data:
    """The data with further entries missing, to train on: `batch.mask` says which, and x is blank there.

    Which ones depends on (seed, the example's place in its split), so every pass over the data misses the same.
    """
    return data.map(_hider(data.spec, fraction, mechanism, seed))


def _hider(spec: DataSpec, fraction: float, mechanism: Mechanism, seed: int) -> Callable[[Batch], Batch]:
    def change(batch: Batch) -> Batch:
        assert batch.index is not None
        kept = hide(spec, batch.index, fraction=fraction, mechanism=mechanism, seed=seed)
        mask = kept if batch.mask is None else kept & batch.mask
        return batch.replace(x=torch.where(kept, batch.x, blank(spec, batch.x)), mask=mask)

    return change


def blank(spec: DataSpec, like: Tensor) -> Tensor:
    """[*shape] what stands where nothing is known: the middle, 0 of standardised numbers and of every category."""
    middle = 0.5 * (spec.low + 1) if spec.levels else 0.0
    return torch.full(spec.shape, middle).to(like)


def ready(spec: DataSpec, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """x and mask as a model is asked to fill them: hidden entries blank, and numbers said to be there.

    A table knows of a missing number by a flag; the question is what the number would be were it there, so the flag is
    set to 0 and counts as observed.
    """
    check_mask(spec, x, mask)
    x = torch.where(mask, x, blank(spec, x))
    mask = mask.clone()
    for column in spec.columns if spec.kind == "table" else ():
        if column.kind == "number" and column.missing:
            gone = ~mask[:, column.start]
            x[:, column.start + 1] = torch.where(gone, 0.0, x[:, column.start + 1])
            mask[:, column.start + 1] |= gone
    return x, mask


def check_mask(spec: DataSpec, x: Tensor, mask: Tensor) -> None:
    """DataError where x or mask do not fit the data, or an example shows nothing at all."""
    if tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"Examples of shape {tuple(x.shape[1:])} do not fit data of shape {spec.shape}.")
    if mask.shape != x.shape or mask.dtype != torch.bool:
        raise DataError(
            f"A mask of shape {tuple(mask.shape)} and type {str(mask.dtype).removeprefix('torch.')} was given; it must"
            f" be shaped as x, {tuple(x.shape)}, and of type bool: True where the entry is observed."
        )
    if (empty := ~shows(spec, mask)).any():
        raise DataError(
            f"Row {int(empty.int().argmax())}: every value is missing (rows count from 0), so there is nothing to fill"
            " it from. Remove the row; new rows are drawn by `exnihilo sample`."
        )


def shows(spec: DataSpec, mask: Tensor) -> Tensor:
    """[B] whether an example shows any value at all."""
    if spec.kind == "table":
        mask = torch.stack([mask[:, column.start] for column in spec.columns], dim=1)
    return mask.flatten(1).any(dim=1)
