"""Traversal: one coordinate of the code moves, the others stand still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import DataSpec, GenerativeModel, OptionError
from exnihilo.explore.axes import AxesName, Coordinates, axes_of
from exnihilo.explore.codes import decoded, surroundings
from exnihilo.explore.pictures import rows_picture, signed

CANDIDATES = 256  # axes of which the changes are measured; of longer codes those of the largest variance
LOOKS = 3  # places on an axis by which its change is measured: both ends and the middle


@dataclass(frozen=True)
class Traversal:
    """Rows of examples along single axes of the code, the axis that changes them most first."""

    spec: DataSpec
    names: tuple[str, ...]  # [R] of the axes
    values: Tensor  # [S] standard deviations from the mean
    z: Tensor  # [R, S, *latent]
    x: Tensor  # [R, S, *shape]
    change: Tensor  # [R] variance of x along the axis, mean of its entries
    share: Tensor  # [R] of the change of all axes that were looked at
    looked_at: int
    size: int  # numbers in the code
    around: Tensor | None = None  # samples that points of a plane are shown against

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        rows = zip(self.names, self.change.tolist(), self.share.tolist(), strict=True)
        return {
            "code": self.size,
            "looked_at": self.looked_at,
            "values": self.values.tolist(),
            "axes": [{"name": name, "change": change, "share": share} for name, change, share in rows],
        }

    def picture(self) -> Any:
        """A PIL image: a row an axis, its share of the change beside it."""
        labels = [f"{name}  {share:.0%}" for name, share in zip(self.names, self.share.tolist(), strict=True)]
        columns = [signed(value) for value in self.values.tolist()]
        return rows_picture(self.spec, self.x, labels, columns, self.around)


def traverse(
    model: GenerativeModel,
    codes: Tensor,
    *,
    start: Tensor | None = None,
    coordinates: Coordinates = None,
    axes: AxesName = "coordinates",
    span: float = 3.0,
    steps: int = 9,
    rows: int = 10,
) -> Traversal:
    """x = decode(z) for z = start but z_k = mean_k + v std_k, v from -span to span in `steps` places, for several k.

    codes [N, ...]: typical ones (`typical_codes`), which tell means and deviations; start [...]: a code, by default
    their mean. Without `coordinates` the `rows` that change x most are shown, most first, out of at most 256. Caution:
    codes of many independent coordinates are never all near their mean, so the mean decodes to no typical example; and
    principal axes of codes drawn alike in all directions, as a GAN's are, are chance.
    """
    if span <= 0 or steps < 2 or rows < 1:
        raise OptionError(
            f"span={span:g}, steps={steps}, rows={rows}: span must be above 0, steps 2 and rows 1 or more."
        )
    found = axes_of(codes, axes, coordinates, CANDIDATES, model.code_names)
    origin = found.location if start is None else start.flatten()
    latent, shape = codes.shape[1:], model.spec.shape
    count = len(found.names)

    def along(which: range, values: Tensor) -> Tensor:
        """[len(which), S, K] codes."""
        return torch.stack([found.place(origin, row, values) for row in which])

    looks = torch.linspace(-span, span, LOOKS).to(codes)
    seen = decoded(model, along(range(count), looks).view(count * LOOKS, *latent)).view(count, LOOKS, -1)
    change = seen.var(dim=1, correction=0).mean(dim=1)
    order = change.argsort(descending=True, stable=True).tolist()[: rows if coordinates is None else count]
    share = change / change.sum().clamp(min=1e-12)
    found, values = found[order], torch.linspace(-span, span, steps).to(codes)
    z = along(range(len(order)), values)
    x = decoded(model, z.view(-1, *latent)).view(len(order), steps, *shape)
    return Traversal(
        model.spec, found.names, values, z.view(len(order), steps, *latent), x, change[order], share[order], count,
        codes[0].numel(), surroundings(model),
    )  # fmt: skip
