"""Which examples train, which validate and which test: dealt by a hash of who they are, never by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, did_you_mean, listing

PARTS = ("train", "validation", "test")

#: What people call them, in folder and array names.
SPLIT_WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}
FEWEST = 8  # examples; below that nothing can be said

#: A round of 25 ranked examples: 18 train (72 %), 2 validate (8 %), 5 test (20 %).
ROUND = torch.zeros(25, dtype=torch.int8)
ROUND[[7, 19]] = 1
ROUND[[0, 5, 10, 15, 20]] = 2


def part_number(name: str) -> int:
    """0 train, 1 validation, 2 test; another name is a DataError."""
    if name not in PARTS:
        raise DataError(f"There is no split {name!r}.{did_you_mean(name, PARTS)} The splits are: {listing(PARTS)}.")
    return PARTS.index(name)


def identity_hash(identity: str) -> int:
    """64 bits of BLAKE2b: equal on every machine, process and version."""
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "little")


def deal(identities: Sequence[str], label: Tensor | None = None, own: Tensor | None = None) -> Tensor:
    """[N] the part of every example: 0 train, 1 validation, 2 test.

    Examples are ranked by the hash of their identity (relative path, row number), class by class, and dealt in rounds
    of 25, so that 72/8/20 holds for the whole and within one example for every class; neither the order of the
    files nor any seed matters. own [N]: the part that the source itself fixed, -1 where it says nothing; examples it
    calls training then give a tenth to validation unless it fixed that too.
    """
    if len(identities) < FEWEST:
        raise DataError(
            f"{len(identities)} examples are too few to train, validate and test on; bring {FEWEST} or more."
        )
    hashes = np.array([identity_hash(identity) for identity in identities], dtype=np.uint64)
    classes = np.zeros(len(hashes), dtype=np.int64) if label is None else label.numpy()
    order = torch.from_numpy(np.lexsort((hashes, classes)))
    part = torch.empty(len(order), dtype=torch.int8)
    if own is None:
        part[order] = ROUND.repeat(len(order) // 25 + 1)[: len(order)]
        return part
    part.copy_(own)
    if not (own == 1).any():
        training = order[own[order] == 0]
        part[training[5::10]] = 1
    for number, name in enumerate(PARTS):
        if not (part == number).any():
            raise DataError(f"The {name} split is empty: the source brings its own splits, and none of it is {name}.")
    return part
