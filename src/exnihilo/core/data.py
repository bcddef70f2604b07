"""What models are shaped for and fed with: `DataSpec` describes the data, `Batch` carries it, `Data` serves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from exnihilo.core.columns import Column, decode_table, encode_table, quantise_table, table_steps
from exnihilo.core.companding import compress, expand
from exnihilo.core.errors import DataError, did_you_mean, listing
from exnihilo.core.tokens import Pairs, Tokens, decode_text, encode_text

Kind = Literal["vector", "table", "image", "series", "audio", "text"]
KINDS: tuple[Kind, ...] = ("vector", "table", "image", "series", "audio", "text")


@dataclass(frozen=True)
class Attribute:
    """A named fact beside the class. In a batch: 0 or 1, the number of the category, or a standardised number."""

    name: str
    kind: Literal["yes/no", "category", "number"]
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def encode(self, value: object) -> float:
        """The number that stands for a raw value in `Batch.attributes`; NaN for None."""
        if value is None:
            return math.nan
        if self.kind == "number":
            return (float(value) - self.mean) / self.scale  # type: ignore[arg-type]
        if self.kind == "category":
            if str(value) not in self.categories:
                hint = did_you_mean(str(value), self.categories)
                raise DataError(f"{self.name} has no value {value!r}.{hint} It takes: {listing(self.categories)}.")
            return float(self.categories.index(str(value)))
        words = {"yes": 1.0, "true": 1.0, "1": 1.0, "no": 0.0, "false": 0.0, "0": 0.0}
        if str(value).lower() not in words:
            raise DataError(f"{self.name} is a yes/no fact, not {value!r}: give yes or no.")
        return words[str(value).lower()]


@dataclass(frozen=True)
class DataSpec:
    """All that a model, a report or a picture needs to know of the data; plain values, stored as JSON.

    Model space: images [-1, 1] float32 (C, H, W) with `levels` raw steps; vectors standardised floats (D,), or 0/1
    where the data hold two values only (`levels` = 2); tables one encoded vector (see `Column`); series (C, T) floats,
    each channel standardised by its `Column`; audio (1, T) waveforms in [-1, 1], with `levels` the nearest of so many
    values that are even under the mu-law. Text is int64 (L,): ids 0 ... levels - 1, the tokens' places in
    `vocabulary` (of `bytes`, the byte). Every example is full, so no id means padding.

    `encode` and `decode` go between raw values and model space and need nothing else.
    """

    kind: Kind
    shape: tuple[int, ...]  # of one example in model space
    levels: int = 0  # raw values an entry can take; 0 = continuous (tables: see columns)
    classes: int = 0  # 0 = without labels
    class_names: tuple[str, ...] = ()
    class_shares: tuple[float, ...] = ()  # of the training split
    attributes: tuple[Attribute, ...] = ()
    columns: tuple[Column, ...] = ()  # vectors and tables; of series, the channels
    vocabulary: tuple[str, ...] = ()  # text: what each id stands for
    tokens: Tokens | Literal[""] = ""  # text: how it is cut
    merges: Pairs = ()  # text of byte pairs: the ids that are joined, in their order
    rate: float = 0.0  # samples per second of audio
    examples: int = 0  # in the training split
    given: DataSpec | None = None  # of what every example is conditioned on: a vector or a picture

    @property
    def size(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def low(self) -> float:
        """The smallest entry of data with levels."""
        return -1.0 if self.kind in ("image", "audio") else 0.0

    @property
    def step(self) -> float:
        """The distance of neighbouring levels in model space; 0 where the data are continuous."""
        if self.kind == "text":
            return 1.0
        return (1.0 - self.low) / (self.levels - 1) if self.levels else 0.0

    @property
    def continuous(self) -> bool:
        """Whether all entries of x are real numbers, with neither levels nor columns of categories."""
        return not self.discrete and self.kind != "table"

    @property
    def discrete(self) -> bool:
        """Whether every entry of x takes one of `levels` values, so that a mass over them makes sense."""
        return self.levels > 0

    def steps(self, like: Tensor | None = None) -> Tensor:
        """The step of every entry, in model space: shape `shape`, 0 where the entry is continuous."""
        table = self.kind == "table"
        steps = table_steps(self.columns, self.size) if table else torch.full(self.shape, self.step)
        return steps if like is None else steps.to(like)

    def to_levels(self, x: Tensor) -> Tensor:
        """Integers 0 ... levels - 1 of the nearest levels, the shape of x; of text, x itself."""
        return ((x - self.low) / self.step).round().clamp(0, self.levels - 1).long()

    def from_levels(self, index: Tensor) -> Tensor:
        """Model space from integers 0 ... levels - 1; of text, these."""
        if self.kind == "text":
            return index.long()
        return index.to(torch.get_default_dtype()) * self.step + self.low

    def dequantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spread every discrete entry evenly over its step, [B, *shape] -> (x + noise, log q(noise | x) [B]).

        E[log p(x + noise)] - log q is a lower bound on the log-probability of the raw values (Theis et al., 2016,
        arXiv:1511.01844, Eq. 3). The empty place of a missing number is filled from N(0, 1), whose density log q
        holds as well. The one place where discrete meets continuous: no family does it again. Draws from torch's
        generator, so call it in a seeded scope.
        """
        steps = self._steps  # read on the processor: a question to the device would be waited for in every step
        noisy = x + (torch.rand_like(x) - 0.5) * steps.to(x, non_blocking=True)
        log_q = x.new_full((len(x),), self._log_density)
        for column in self.columns:
            if column.missing:
                here, flag = column.start, column.start + 1
                gone = x[:, flag] > 0.5
                filler = torch.randn_like(x[:, here])
                noisy[:, here] = torch.where(gone, filler, noisy[:, here])
                log_q = log_q + gone * (-0.5 * filler.square() - 0.5 * math.log(2 * math.pi))
                if steps[here] > 0:  # the filler stands in place of the even spread
                    log_q = log_q + gone * math.log(steps[here])
        return noisy, log_q

    @cached_property
    def _steps(self) -> Tensor:
        """`steps()`, made once: examples are dequantised in every update."""
        return self.steps()

    @cached_property
    def _log_density(self) -> float:
        """Of the even spread over the steps, in nats."""
        steps = self._steps
        return -float(steps[steps > 0].double().log().sum())

    def quantise(self, x: Tensor) -> Tensor:
        """The nearest point of model space that real data could hold: what `encode(decode(x))` gives."""
        if self.kind == "table":
            return quantise_table(self.columns, x)
        return self.from_levels(self.to_levels(x)).to(x) if self.levels else x

    def encode(self, raw: Any) -> Tensor:
        """Raw examples -> model space [N, *shape], float32 (text: int64).

        Images: integers 0 ... levels - 1, (N, H, W) or (N, H, W, C). Vectors: (N, D). Tables: a DataFrame with the
        spec's columns. Series: (N, C, T). Audio: waveforms in [-1, 1], (N, T). Text: N strings of L tokens each (see
        `tokenize` for other lengths). An unseen category or token or a wrong shape is a DataError.
        """
        if self.kind == "table":
            return encode_table(self.columns, raw, self.size)
        if self.kind == "text":
            return self._encode_texts(raw)
        values = torch.from_numpy(np.array(raw, dtype=np.float32))
        if self.kind == "image":
            values = values.unsqueeze(1) if values.ndim == 3 else values.movedim(-1, 1)
            values = values * self.step + self.low
        elif self.kind == "audio":
            values = values.unsqueeze(1)
            values = self.quantise(compress(values, self.levels)) if self.levels else values
        elif self.columns:
            mean, scale = self._units()
            values = torch.from_numpy(((np.array(raw, dtype=np.float64) - mean) / scale).astype(np.float32))
        if tuple(values.shape[1:]) != self.shape:
            raise DataError(f"Examples of shape {tuple(values.shape[1:])} do not fit data of shape {self.shape}.")
        return values.contiguous()

    def decode(self, x: Tensor) -> Any:
        """Model space [N, *shape] -> raw, as `encode` takes it: uint8 pictures, a DataFrame, N strings, or arrays."""
        x = x.detach().cpu()
        if self.kind == "table":
            return decode_table(self.columns, x)
        if self.kind == "text":
            return [self.untokenize(row) for row in x]
        if self.kind == "image":
            raw = self.to_levels(x).movedim(1, -1).numpy().astype(np.uint8 if self.levels <= 256 else np.uint16)
            return raw[..., 0] if raw.shape[-1] == 1 else raw
        if self.kind == "audio":
            near = self.quantise(x.float().clamp(-1, 1))[:, 0]
            return (expand(near, self.levels) if self.levels else near).numpy()
        if self.columns:
            mean, scale = self._units()
            return self.quantise(x).double().numpy() * scale + mean
        return self.quantise(x).numpy()

    def tokenize(self, text: str) -> Tensor:
        """[n] the ids of a text of any length, such as a prompt; a character without a token is a DataError."""
        assert self.tokens, "only text has tokens"
        return torch.tensor(encode_text(self.tokens, self.vocabulary, self.merges, text), dtype=torch.int64)

    def untokenize(self, ids: Tensor) -> str:
        """The text of ids [n]."""
        assert self.tokens, "only text has tokens"
        return decode_text(self.tokens, self.vocabulary, self.to_levels(ids).tolist())

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        rows = [self.tokenize(text) for text in texts]
        for place, row in enumerate(rows):
            if len(row) != self.size:
                raise DataError(f"Text {place} has {len(row)} tokens; examples of these data have {self.size}.")
        return torch.stack(rows)

    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale of the columns, float64: (D,), or (C, 1) of series."""
        mean = np.array([column.mean for column in self.columns])
        scale = np.array([column.scale for column in self.columns])
        return (mean[:, None], scale[:, None]) if self.kind == "series" else (mean, scale)

    def class_index(self, label: object) -> int:
        """The number of a class given by name or number."""
        if not self.classes:
            raise DataError("These data have no labels, so no label can be asked for.")
        if str(label) in self.class_names:
            return self.class_names.index(str(label))
        if isinstance(label, int) and -1 <= label < self.classes:
            return label
        hint = did_you_mean(str(label), self.class_names)
        raise DataError(f"There is no class {label!r}.{hint} The classes are: {listing(self.class_names)}.")

    def to_json(self) -> dict[str, Any]:
        """Plain values; fields that say nothing are left out."""
        plain = asdict(replace(self, given=None))
        known = {name: value for name, value in plain.items() if value not in (0, 0.0, (), "", None)}
        return known | ({"given": self.given.to_json()} if self.given else {})

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> DataSpec:
        """The inverse of `to_json`; an unknown field is a DataError (a newer version wrote it)."""
        known = {field.name for field in fields(cls)}
        if unknown := set(record) - known:
            raise DataError(f"The data description holds unknown fields: {listing(sorted(unknown))}.")
        record = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        record["columns"] = tuple(Column.from_json(column) for column in record.get("columns", ()))
        record["merges"] = tuple((left, right) for left, right in record.get("merges", ()))
        record["attributes"] = tuple(
            Attribute(**{**entry, "categories": tuple(entry.get("categories", ()))})
            for entry in record.get("attributes", ())
        )
        record["given"] = cls.from_json(record["given"]) if "given" in record else None
        return cls(**record)


@dataclass(frozen=True)
class Batch:
    """Examples and what is known of them: x is what is generated, the rest is what `sample` takes by the same names."""

    x: Tensor  # [B, *shape], finite everywhere
    label: Tensor | None = None  # [B] int64, -1 unknown
    attributes: Tensor | None = None  # [B, A], NaN unknown
    text: Tensor | None = None  # [B, L] token ids, 0 = padding
    given: Tensor | dict[str, Tensor] | None = None  # what is conditioned on
    mask: Tensor | None = None  # like x: True = observed
    index: Tensor | None = None  # [B] place of the example in its split

    def __len__(self) -> int:
        return len(self.x)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, dict):
                changed[name] = {key: change(part) for key, part in value.items()}
            else:
                changed[name] = None if value is None else change(value)
        return Batch(**changed)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        if self.x.device == torch.device(device):
            return self
        return self._each(lambda part: part.to(device, non_blocking=True))

    def __getitem__(self, part: slice | Tensor) -> Batch:
        """Some of the examples."""
        return self._each(lambda values: values[part])

    def replace(self, **changes: Any) -> Batch:
        """The same batch with some fields changed."""
        return replace(self, **changes)


@runtime_checkable
class Data(Protocol):
    """Examples behind a description. Batch k is a function of (seed, k): the position in the data is one integer."""

    @property
    def spec(self) -> DataSpec: ...

    def __len__(self) -> int: ...

    def split(self, name: str) -> Data:
        """`train`, `validation` or `test`: fixed by the examples' identity, not by any seed."""
        ...

    def batch(self, k: int, size: int, seed: int) -> Batch:
        """The k-th batch of an endless stream of shuffled passes."""
        ...

    def weighted(self, weights: Tensor) -> Data:
        """The same examples, drawn in proportion to non-negative weights [N]."""
        ...

    def map(self, change: Callable[[Batch], Batch]) -> Data:
        """Batches changed by a function (encode, reduce, corrupt) as they are drawn."""
        ...

    def first(self, n: int | None = None) -> Batch:
        """The first n examples in their fixed order, or all."""
        ...

    def spread(self, n: int) -> Batch:
        """n examples evenly spread over their fixed order, or all: files often stand sorted."""
        ...


def repeat_first(values: Sequence[Any], n: int) -> list[Any]:
    """One value for all of n samples, or n values: `["cat"]` -> `["cat"] * n`."""
    if len(values) not in (1, n):
        raise DataError(f"{n} samples need one condition or {n}; {len(values)} were given.")
    return list(values) * n if len(values) == 1 else list(values)


def check_mask(x: Tensor, mask: Tensor) -> None:
    """A DataError unless mask says of every entry of x [B, *shape] whether it was observed, and some of them were."""
    if mask.dtype != torch.bool or mask.shape != x.shape:
        kind = f"{str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
        raise DataError(f"The mask is {kind}; it must be bool {tuple(x.shape)} like x, True where x was observed.")
    if not mask.any():
        raise DataError("All values are missing, so there is nothing to go by. Draw new examples with `sample`.")
