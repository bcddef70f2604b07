"""`Dataset`: examples, what is known of them, and batches as a pure function of (seed, k)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

import torch
from torch import Tensor

from exnihilo.core import Batch, DataError, DataSpec
from exnihilo.core.noise import hash_key
from exnihilo.data.splits import PARTS, part_number
from exnihilo.data.times import Times


class Examples(Protocol):
    """The generated part x of every example, held in memory or read when asked."""

    lazy: bool

    def __len__(self) -> int: ...

    def read(self, rows: Tensor) -> Tensor:
        """[len(rows), *shape]: model space, or integer levels of an image."""
        ...

    def prefetch(self, rows: Tensor) -> None:
        """Begin to read rows that will be asked for next."""
        ...

    def digests(self) -> list[bytes]:
        """A fingerprint of every example; equal examples have equal ones."""
        ...


class InMemory:
    """One tensor [N, *shape]: model space (float32), or integer levels of images (uint8, a quarter of the memory)."""

    lazy = False

    def __init__(self, x: Tensor):
        self.x = x.contiguous()

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: Tensor) -> Tensor:
        """Some of the examples, copied."""
        return self.x[rows]

    def prefetch(self, rows: Tensor) -> None:
        """Nothing to do: all is here."""

    def digests(self) -> list[bytes]:
        """Of the values."""
        return [blake2b(row.tobytes(), digest_size=16).digest() for row in self.x.numpy()]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples behind a description; implements `core.Data`.

    `split`, `weighted` and `map` are views: they share the examples and cost nothing. The whole serves all examples;
    train on `split("train")`.
    """

    spec: DataSpec
    examples: Examples
    part: Tensor  # [N] 0 train, 1 validation, 2 test
    label: Tensor | None = None  # [N], -1 unknown
    attributes: Tensor | None = None  # [N, A], NaN unknown
    mask: Tensor | None = None  # [N, *shape], True = observed
    captions: tuple[str, ...] = ()  # raw texts beside the examples, "" where there is none
    source: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was assumed, and the option that changes it
    warnings: list[str] = field(default_factory=list)
    fingerprint: str = ""
    rows: Tensor | None = None  # of the examples that this view shows; None = all
    weights: Tensor | None = None  # of those rows
    changes: tuple[Callable[[Batch], Batch], ...] = ()
    given: Examples | None = None  # what they are conditioned on, described by spec.given
    times: Times | None = None  # of the rows of one series, where they are even

    def __len__(self) -> int:
        return len(self.examples) if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts().items() if count)
        return f"Dataset({self.source or self.spec.kind!r}: {self.spec.kind} {self.spec.shape}, {counts})"

    @property
    def places(self) -> Tensor:
        """[len] the rows of the examples that this view shows."""
        return torch.arange(len(self.examples)) if self.rows is None else self.rows

    def counts(self) -> dict[str, int]:
        """Examples per split."""
        return {name: int((self.part[self.places] == number).sum()) for number, name in enumerate(PARTS)}

    def split(self, name: str) -> Dataset:
        """`train`, `validation` or `test`: fixed by the examples' identity, not by any seed."""
        number = part_number(name)
        chosen = (self.part[self.places] == number).nonzero()[:, 0]
        if len(chosen) == 0:
            raise DataError(f"The {name} split is empty. It holds: {self.counts()}.")
        weights = None if self.weights is None else self.weights[chosen]
        return replace(self, rows=self.places[chosen], weights=weights)

    def batch(self, k: int, size: int, seed: int) -> Batch:
        """The k-th batch of an endless stream: shuffled passes end to end, or draws in proportion to the weights.

        A pure function of (seed, k, size). Passes follow each other without a gap, so a batch may span two of them,
        and `size` may exceed the number of examples.
        """
        places = self._drawn(k, size, seed)
        if self.examples.lazy:  # queue this batch first, then the next, so that it is decoded while this one trains
            self.examples.prefetch(self.places[torch.cat([places, self._drawn(k + 1, size, seed)])])
        return self._take(places)

    def first(self, n: int | None = None) -> Batch:
        """The first n examples in their fixed order, or all."""
        return self._take(torch.arange(len(self) if n is None else min(n, len(self))))

    def spread(self, n: int) -> Batch:
        """n examples evenly spread over their fixed order, or all: files often stand sorted by class."""
        return self._take(torch.arange(min(n, len(self))) * len(self) // min(n, len(self)))

    def weighted(self, weights: Tensor) -> Dataset:
        """The same examples, drawn with replacement in proportion to non-negative weights [N]."""
        weights = weights.detach().double().cpu()
        if weights.shape != (len(self),):
            raise DataError(
                f"{len(self)} examples need {len(self)} weights; a tensor {tuple(weights.shape)} was given."
            )
        if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise DataError("Weights must be finite and not negative, and one of them positive.")
        return replace(self, weights=weights)

    def map(self, change: Callable[[Batch], Batch]) -> Dataset:
        """Batches changed by a function (encode, reduce, corrupt) as they are drawn; `spec` stays the original's."""
        return replace(self, changes=(*self.changes, change))

    def _drawn(self, k: int, size: int, seed: int) -> Tensor:
        """[size] places in this view."""
        if size < 1:
            raise DataError(f"A batch of {size} examples cannot be drawn; ask for 1 or more.")
        n = len(self)
        if self.weights is not None:
            generator = torch.Generator().manual_seed(hash_key("weighted", seed, k))
            heap = self.weights.cumsum(0)
            point = torch.rand(size, generator=generator, dtype=torch.float64) * heap[-1]
            return torch.searchsorted(heap, point, right=True).clamp(max=int(self.weights.nonzero()[-1]))
        start, end = k * size, (k + 1) * size
        passes = range(start // n, (end - 1) // n + 1)
        order = torch.cat([_shuffled(n, seed, number) for number in passes])
        return order[start - passes[0] * n : end - passes[0] * n]

    def _take(self, places: Tensor) -> Batch:
        rows = self.places[places] if self.rows is not None else places
        batch = Batch(
            x=_in_model_space(self.spec, self.examples.read(rows)),
            label=None if self.label is None else self.label[rows],
            attributes=None if self.attributes is None else self.attributes[rows],
            given=None if self.given is None else _in_model_space(self.spec.given, self.given.read(rows)),
            mask=None if self.mask is None else self.mask[rows],
            index=places,
        )
        for change in self.changes:
            batch = change(batch)
        return batch


def _in_model_space(spec: DataSpec | None, values: Tensor) -> Tensor:
    """Integer levels become numbers."""
    return values if values.is_floating_point() or spec is None else spec.from_levels(values)


@functools.lru_cache(maxsize=8)
def _shuffled(n: int, seed: int, number: int) -> Tensor:
    """The order of one pass over n examples."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(hash_key("pass", seed, number)))


def assemble(
    spec: DataSpec,
    examples: Examples,
    part: Tensor,
    *,
    label: Tensor | None = None,
    attributes: Tensor | None = None,
    mask: Tensor | None = None,
    captions: Sequence[str] = (),
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Dataset:
    """The last step of every loader: class shares, fingerprint, and what the user ought to know about the whole."""
    training = part == 0
    if label is not None:
        known = label[training & (label >= 0)]
        counts = torch.bincount(known, minlength=spec.classes).double()
        spec = replace(spec, class_shares=tuple((counts / counts.sum()).tolist()))
    spec = replace(spec, examples=int(training.sum()))
    digests = examples.digests()
    warnings = [*warnings, *_size_warnings(spec, part, label)]
    notes = [*notes, *_duplicate_notes(digests, part)]
    known_facts = [tensor.numpy().tobytes() for tensor in (part, label, attributes, mask) if tensor is not None]
    text = repr(spec.to_json()) + "\n".join(captions)
    content = blake2b(b"".join([*digests, *known_facts, text.encode()]), digest_size=16)
    return Dataset(
        spec, examples, part, label, attributes, mask, tuple(captions),
        notes=notes, warnings=warnings, fingerprint=content.hexdigest(),
    )  # fmt: skip


def _size_warnings(spec: DataSpec, part: Tensor, label: Tensor | None) -> list[str]:
    warnings = []
    tested = int((part == 2).sum())
    if len(part) < 200:
        warnings.append(
            f"Only {len(part)} examples, {tested} of them to test on: distances between samples and data are rough"
            " (wide intervals, biased upwards), and a model can learn the training examples by heart."
        )
    if label is not None:
        counts = torch.bincount(label[label >= 0], minlength=spec.classes)
        rare = [f"{spec.class_names[number]} ({counts[number]})" for number in (counts < 10).nonzero()[:, 0].tolist()]
        if rare:
            warnings.append(f"Classes with fewer than 10 examples can hardly be learnt: {', '.join(rare[:10])}.")
    return warnings


def _duplicate_notes(digests: list[bytes], part: Tensor) -> list[str]:
    repeats = len(digests) - len(set(digests))
    if not repeats:
        return []
    training = {digest for digest, number in zip(digests, part.tolist(), strict=True) if number == 0}
    leaked = sum(number > 0 and digest in training for digest, number in zip(digests, part.tolist(), strict=True))
    return [
        f"Examples that repeat another one exactly: {repeats}. Of the validation and test examples, {leaked} also stand"
        " in the training split."
    ]
