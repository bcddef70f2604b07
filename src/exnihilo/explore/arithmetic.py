"""Latent arithmetic: the code of a class, a fact or a few chosen examples, taken off and added."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, DataSpec, GenerativeModel, OptionError, did_you_mean, listing
from exnihilo.explore.codes import codes_of_draws, codes_of_examples, decoded, encoded, some_examples, surroundings
from exnihilo.explore.pictures import layout_of, rows_picture

MOST = 2000  # examples behind a class or a fact
SHOWN = 7  # members of a group in the picture
ASK = "Write groups with + and - between them, as in 'class=3 - class=5 + 4,17,21'."


@dataclass(frozen=True)
class Group:
    """One term of a formula: codes [N, ...] whose mean is added (sign 1) or taken off (sign -1)."""

    sign: int
    name: str
    codes: Tensor
    members: Tensor  # [n, *shape] some of its examples, or what its codes decode to

    @property
    def mean(self) -> Tensor:
        """[...] the mean of the codes."""
        return self.codes.mean(dim=0)


@dataclass(frozen=True)
class Arithmetic:
    """The means of the groups, and the way from the last group that was added to the result."""

    spec: DataSpec
    groups: tuple[Group, ...]
    means: Tensor  # [G, *shape] what the groups' means decode to
    strengths: Tensor  # [S] how much of the other groups is added; the result is at 1
    z: Tensor  # [S, *latent]
    x: Tensor  # [S, *shape]
    around: Tensor | None = None  # samples that points of a plane are shown against

    @property
    def result(self) -> Tensor:
        """[*shape] what the formula decodes to."""
        return self.x[int((self.strengths - 1).abs().argmin())]

    @property
    def base(self) -> str:
        """The group from which the way to the result begins."""
        return next(group.name for group in reversed(self.groups) if group.sign > 0)

    def facts(self) -> dict[str, Any]:
        """Plain values; each group's `length` is that of its mean code."""
        groups = [
            {
                "sign": "+-"[group.sign < 0],
                "name": group.name,
                "n": len(group.codes),
                "length": float(group.mean.norm()),
            }
            for group in self.groups
        ]
        return {"groups": groups, "base": self.base, "strengths": self.strengths.tolist()}

    def picture(self) -> Any:
        """A PIL image: a row a group, its mean before its members, and the way to the result below.

        Of rows of a table, the means and the result alone.
        """
        marks = [f"{'+-'[group.sign < 0]} {group.name}" for group in self.groups]
        layout = layout_of(self.spec)
        if layout == "sheet":
            table = torch.cat([self.means, self.result[None]])
            return rows_picture(self.spec, table[None], ["mean codes"], [*marks, "="])
        most = SHOWN if layout == "grid" else 0
        members = [
            torch.cat([mean[None], group.members[:most]]) for mean, group in zip(self.means, self.groups, strict=True)
        ]
        rows = [*members, self.x]
        wide = max(len(row) for row in rows)
        blank = torch.full((wide, *self.spec.shape), torch.nan)
        x = torch.stack([torch.cat([row, blank])[:wide] for row in rows])
        names = [f"{mark}  ({len(group.codes)})" for mark, group in zip(marks, self.groups, strict=True)]
        return rows_picture(self.spec, x, [*names, f"{self.base}  →  result"], ["mean", "members"], self.around)


def arithmetic(model: GenerativeModel, groups: Sequence[Group], *, steps: int = 8, reach: float = 1.0) -> Arithmetic:
    """decode(c + s d) with d the sum of all other groups' means by their signs; c the last group that is added.

    z = mean(A) - mean(B) + mean(C) at strength s = 1: Radford et al., 2016, arXiv:1511.06434, section 6.3.2, who took
    means of a few chosen samples because single ones were unstable. s runs from 0 to `reach` in `steps` places and
    takes 1 on the way. Caution: in a class mean, facts that go with the class in the data come along.
    """
    if steps < 2 or reach < 1:
        raise OptionError(f"steps={steps}, reach={reach:g} are not allowed. Steps must be 2, reach 1 or more.")
    if not any(group.sign > 0 for group in groups):
        raise OptionError(f"At least one group must be added. {ASK}")
    last = max(place for place, group in enumerate(groups) if group.sign > 0)
    base = groups[last].mean
    direction = torch.zeros_like(base)
    for place, group in enumerate(groups):
        if place != last:
            direction = direction + group.sign * group.mean
    strengths = torch.linspace(0, reach, steps)
    strengths[(strengths - 1).abs().argmin()] = 1.0
    z = base + strengths.view(-1, *[1] * base.ndim) * direction
    x = decoded(model, torch.cat([torch.stack([group.mean for group in groups]), z]))
    return Arithmetic(model.spec, tuple(groups), x[: len(groups)], strengths, z, x[len(groups) :], surroundings(model))


def read_formula(
    model: GenerativeModel,
    formula: str,
    data: Data | None = None,
    *,
    split: str = "test",
    seed: int = 0,
    drawn: bool | None = None,
) -> list[Group]:
    """The groups of `class=3 - class=5 + 4,17,21`: signs stand between spaces.

    class=NAME, or FACT=VALUE of the data's attributes (of a number: high or low, by its mean): all such examples of the
    split. Numbers: examples of the split or, `drawn`, samples of the seed; by default drawn where nothing is encoded.
    """
    drawn = "encode" not in model.capabilities if drawn is None else drawn
    text = formula.strip()
    parts = re.split(r"(?:^|\s+)([+-])(?:\s+|$)", text if text.startswith(("+ ", "- ")) else f"+ {text}")
    signs, names = parts[1::2], [part.strip() for part in parts[2::2]]
    if not all(names):
        raise OptionError(f"The formula {formula!r} has a sign without a group. {ASK}")
    reader = _Reader(model, data, split, seed, drawn)
    return [reader.group(1 if sign == "+" else -1, name) for sign, name in zip(signs, names, strict=True)]


@dataclass
class _Reader:
    """Finds the codes that the words of a formula stand for; examples are encoded once."""

    model: GenerativeModel
    data: Data | None
    split: str
    seed: int
    drawn: bool
    _batch: Batch | None = None
    _codes: Tensor | None = None

    def group(self, sign: int, name: str) -> Group:
        if re.fullmatch(r"\d+(\s*,\s*\d+)*", name):
            numbers = [int(number) for number in name.split(",")]
            if self.drawn:
                codes = codes_of_draws(self.model, numbers, seed=self.seed)
                return Group(sign, f"samples {name}", codes, decoded(self.model, codes[:SHOWN]))
            codes, x = codes_of_examples(self.model, self._examples(), numbers, split=self.split)
            return Group(sign, f"examples {name}", codes, x[:SHOWN])
        fact, equals, value = name.partition("=")
        if not equals:
            raise OptionError(f"{name!r} names no group. {ASK}")
        return self._with(sign, fact.strip(), value.strip())

    def _with(self, sign: int, fact: str, value: str) -> Group:
        """All examples of which a fact is true."""
        if self.drawn:
            raise OptionError(
                f"{fact}={value} names examples, but the codes are drawn here. Choose samples by number, as in"
                f" '4,17,21'; `exnihilo sample RUN -n 64 --seed {self.seed} --out sheet.png` shows them."
            )
        if self._batch is None:
            self._batch = some_examples(self.model, self._examples(), self.split, MOST)
            self._codes = encoded(self.model, self._batch.x)
        assert self._codes is not None
        chosen = _where(self._batch, self._examples().spec, fact, value)
        if not bool(chosen.any()):
            raise DataError(f"No example of the {self.split} split has {fact}={value}. Take another --split or group.")
        return Group(sign, f"{fact}={value}", self._codes[chosen], self._batch.x[chosen][:SHOWN])

    def _examples(self) -> Data:
        if self.data is None:
            raise OptionError("Classes, facts and numbers of examples need data. Give data too.")
        return self.data


def _where(batch: Batch, spec: DataSpec, fact: str, value: str) -> Tensor:
    """[B] of which examples the fact is true."""
    if fact == "class" and spec.classes and batch.label is not None:
        number = value.isdigit() and value not in spec.class_names
        return batch.label == spec.class_index(int(value) if number else value)
    names = [attribute.name for attribute in spec.attributes]
    if fact not in names or batch.attributes is None:
        known = [*(["class"] if spec.classes else []), *names]
        raise OptionError(
            f"These data have no fact {fact!r}.{did_you_mean(fact, known)} Known: {listing(known)}."
            " Numbers of examples or samples always work, as in '4,17,21'."
        )
    column = batch.attributes[:, names.index(fact)]
    attribute = spec.attributes[names.index(fact)]
    if attribute.kind != "number":
        return column == attribute.encode(value)
    if value not in ("high", "low"):
        raise OptionError(f"{fact}={value}: {fact} is a number, of which groups are {fact}=high and {fact}=low.")
    return column > 0 if value == "high" else column < 0
