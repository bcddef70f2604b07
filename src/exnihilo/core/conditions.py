"""What samples are asked to be: labels, attributes and further conditions as the user says them, made tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from exnihilo.core.data import DataSpec, repeat_first
from exnihilo.core.errors import DataError, did_you_mean, listing
from exnihilo.core.noise import Noise


@dataclass(frozen=True)
class Conditions:
    """The keywords that `sample` hands to `draw`, one entry per sample; None where nothing is asked."""

    label: Any = None
    attributes: Any = None
    text: Any = None
    given: Any = None
    mask: Any = None

    def part(self, start: int, end: int, device: torch.device) -> dict[str, Tensor | None]:
        """Those of samples start to end, as keywords."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if value is None else value[start:end].to(device) for name, value in values.items()}


def resolve_conditions(asked: Conditions, n: int, spec: DataSpec, labelled: bool, noise: Noise) -> Conditions:
    """Names to numbers, one value to n; a labelled model that is asked nothing draws classes by their shares."""
    for name in ("text", "given", "mask"):
        value = getattr(asked, name)
        if value is not None and len(value) != n:
            raise DataError(f"{n} samples need {n} rows of {name}; {len(value)} were given.")
    return Conditions(
        _labels(asked.label, n, spec, labelled, noise),
        _attributes(asked.attributes, n, spec),
        asked.text,
        asked.given,
        asked.mask,
    )


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
