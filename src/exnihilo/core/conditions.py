"""What samples are asked to be: labels, attributes and further conditions as the user says them, made tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from exnihilo.core.data import DataSpec, repeat_first
from exnihilo.core.errors import DataError, Unsupported, did_you_mean, listing, some_models
from exnihilo.core.noise import Noise


@dataclass(frozen=True)
class Conditions:
    """What samples are to be: `sample` takes it as keywords and hands it to `draw`, one row per sample.

    None where nothing is asked. In `draw` every one is a tensor of as many rows as there are samples.
    """

    label: Any = None
    attributes: Any = None
    text: Any = None
    given: Any = None
    mask: Any = None

    def part(self, start: int, end: int, device: torch.device) -> Conditions:
        """Those of samples start to end."""
        values = (getattr(self, field.name) for field in fields(self))
        return Conditions(*(None if value is None else value[start:end].to(device) for value in values))


NOTHING = Conditions()


def require_taken(asked: Conditions, takes: frozenset[str], model: str) -> None:
    """Unsupported, naming models that would, for the first thing asked that this model would not look at.

    The class is not looked at here: `resolve_conditions` knows who takes one.
    """
    for name in ("attributes", "text", "given", "mask"):
        if getattr(asked, name) is not None and name not in takes:
            from exnihilo.core.registry import list_models  # there, models are known

            others = [entry.name for entry in list_models() if name in entry.model.takes]
            which = f" Models that do: {some_models(others)}." if others else " No model does."
            also = f" It takes {listing(sorted(takes))}." if takes else ""
            raise Unsupported(f"Samples of {model} take no `{name}`, so it would change nothing.{also}{which}")


def resolve_conditions(asked: Conditions, n: int, spec: DataSpec, labelled: bool, noise: Noise) -> Conditions:
    """Names to numbers, one value to n; a labelled model that is asked nothing draws classes by their shares."""
    given = _given(asked.given, n, spec)
    for name, value in (("text", asked.text), ("given", given), ("mask", asked.mask)):
        if value is not None and len(value) != n:
            raise DataError(f"{n} samples need {n} rows of {name}; {len(value)} were given.")
    return Conditions(
        _labels(asked.label, n, spec, labelled, noise),
        _attributes(asked.attributes, n, spec),
        asked.text,
        given,
        asked.mask,
    )


def _given(asked: Any, n: int, spec: DataSpec) -> Any:
    """In model space; anything but a tensor is raw, as in `load_data(..., given=)`. One row counts for all samples."""
    if asked is None or spec.given is None:
        return asked
    given: Tensor = asked if isinstance(asked, Tensor) else spec.given.encode(asked)
    if given.shape[1:] != spec.given.shape:
        raise DataError(f"given is {tuple(given.shape)}; {n} samples need {(n, *spec.given.shape)}, or one row.")
    return given.expand(n, *spec.given.shape) if len(given) == 1 else given


def _labels(label: Any, n: int, spec: DataSpec, labelled: bool, noise: Noise) -> Tensor | None:
    if label is None:
        if not (labelled and spec.classes):
            return None
        shares = torch.tensor(spec.class_shares or [1.0] * spec.classes, device=noise.device)
        return noise.categorical(shares.log().expand(n, -1))
    if not labelled:
        raise DataError("This model was trained without labels, so it cannot be asked for a class. Leave label out.")
    if isinstance(label, Tensor):
        label = label.tolist()
    names = repeat_first([label] if isinstance(label, str | int) else list(label), n)
    return torch.tensor([spec.class_index(name) for name in names])


def _attributes(asked: Any, n: int, spec: DataSpec) -> Tensor | None:
    if asked is None:
        return None
    if isinstance(asked, Tensor):
        if asked.shape != (n, len(spec.attributes)):
            raise DataError(f"attributes of shape {tuple(asked.shape)} given; {(n, len(spec.attributes))} needed.")
        return asked
    assert isinstance(asked, Mapping)
    names = [attribute.name for attribute in spec.attributes]
    values = torch.full((n, len(names)), float("nan"))
    for name, value in asked.items():
        if name not in names:
            raise DataError(
                f"There is no attribute {name!r}.{did_you_mean(name, names)} The attributes are: {listing(names)}."
            )
        attribute = spec.attributes[names.index(name)]
        entries = repeat_first(value if isinstance(value, list) else [value], n)
        values[:, names.index(name)] = torch.tensor([attribute.encode(entry) for entry in entries])
    return values
