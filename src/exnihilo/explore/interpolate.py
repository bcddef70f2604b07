"""Interpolation: the examples on the way from one code to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from exnihilo.core import DataSpec, GenerativeModel, OptionError
from exnihilo.explore.codes import decoded, surroundings
from exnihilo.explore.pictures import rows_picture

How = Literal["auto", "linear", "spherical"]
SMALL = 1e-6  # sine of an angle below which two codes lie on one line


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 - t) a + t b: codes [P, ...] and places [S] -> [P, S, ...]."""
    t = _beside(t.to(a), a)
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """sin((1 - t) w) / sin w a + sin(t w) / sin w b with the angle w between a and b: [P, ...], [S] -> [P, S, ...].

    Shoemake, 1985, section 3.3; White, 2016, arXiv:1609.04468, section 2. The angle is that of the normalised codes and
    the lengths are not corrected: equal lengths stay equal, unequal ones pass over. Where a and b lie on one line
    (sin w < 1e-6), linear. Right for codes drawn about the origin in many dimensions, nearly all of which have the
    same length, while the straight way leads through the thinly populated middle.
    """
    one, other = a.flatten(1).double(), b.flatten(1).double()
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=1).clamp(-1, 1)
    angle = cosine.arccos()[:, None]  # [P, 1]
    sine, t_row = angle.sin(), t.to(one)[None]
    weights = torch.where(
        sine < SMALL,
        torch.stack([1 - t_row, t_row]).expand(2, len(a), -1),
        torch.stack([((1 - t_row) * angle).sin(), (t_row * angle).sin()]) / sine.clamp(min=SMALL),
    )  # [2, P, S]
    path = weights[0, :, :, None] * one[:, None] + weights[1, :, :, None] * other[:, None]
    return path.to(a).view(len(a), len(t), *a.shape[1:])


def _beside(t: Tensor, a: Tensor) -> Tensor:
    """t [S] -> [1, S, 1, ...], to broadcast with [P, S, ...]."""
    return t.view(1, -1, *[1] * (a.ndim - 1))


@dataclass(frozen=True)
class Interpolation:
    """Rows of examples on the way between two codes; `ends` are the examples themselves where there are such."""

    spec: DataSpec
    how: str
    z: Tensor  # [P, S, *latent]
    x: Tensor  # [P, S, *shape]
    ends: Tensor | None  # [P, 2, *shape]
    names: tuple[str, ...]  # [P] of the rows
    around: Tensor | None = None  # samples that points of a plane are shown against

    def facts(self) -> dict[str, Any]:
        """Plain values. Evenness: the mean step over the largest one, measured in x; 1 = equal steps, 0 = one jump."""
        steps = (self.x[:, 1:] - self.x[:, :-1]).flatten(2).norm(dim=2)  # [P, S - 1]
        even = steps.mean(dim=1) / steps.amax(dim=1).clamp(min=1e-12)
        rows = zip(self.names, even.tolist(), steps.sum(dim=1).tolist(), strict=True)
        pairs = [{"name": name, "evenness": evenness, "length": length} for name, evenness, length in rows]
        return {"how": self.how, "steps": self.x.shape[1], "pairs": pairs}

    def picture(self) -> Any:
        """A PIL image: a row a pair; where the ends are examples, they stand at both sides of what is decoded."""
        x, count = self.x, self.x.shape[1]
        columns = [f"{place / (count - 1):.2g}" for place in range(count)]
        if self.ends is not None:
            x = torch.cat([self.ends[:, :1], x, self.ends[:, 1:]], dim=1)
            columns = ["from", *columns, "to"]
        return rows_picture(self.spec, x, self.names, columns, self.around)


def interpolate(
    model: GenerativeModel,
    a: Tensor,
    b: Tensor,
    *,
    how: How = "auto",
    steps: int = 9,
    ends: tuple[Tensor, Tensor] | None = None,
    names: tuple[str, ...] = (),
) -> Interpolation:
    """decode(z) for z from a to b, codes [P, ...], in `steps` places with both ends.

    `auto` is spherical where the model draws codes of more than two numbers, which lie about the origin, else linear.
    ends: the examples [P, *shape] that a and b are the codes of, shown beside.
    """
    if steps < 2:
        raise OptionError(f"steps={steps} is not allowed. It takes 2 or more.")
    if a.shape != b.shape:
        raise OptionError(f"{len(a)} codes at one end and {len(b)} at the other: give as many of each.")
    if how == "auto":
        how = "spherical" if model.draws_codes and a[0].numel() > 2 else "linear"
    t = torch.linspace(0, 1, steps)
    z = spherical(a, b, t) if how == "spherical" else linear(a, b, t)
    x = decoded(model, z.flatten(0, 1)).view(len(a), steps, *model.spec.shape)
    both = None if ends is None else torch.stack(ends, dim=1)
    names = names or tuple(str(row) for row in range(len(a)))
    return Interpolation(model.spec, how, z, x, both, names, surroundings(model))
