"""The manifold: examples on a grid over a plane of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import DataSpec, GenerativeModel, OptionError
from exnihilo.explore.axes import AxesName, Coordinates, axes_of
from exnihilo.explore.codes import decoded, surroundings
from exnihilo.explore.pictures import plane_picture

EDGE = 0.05  # probability left out on either side


@dataclass(frozen=True)
class Manifold:
    """What the codes of a plane decode to; the first axis runs to the right, the second upwards."""

    spec: DataSpec
    names: tuple[str, ...]  # of the two axes
    values: Tensor  # [S] standard deviations from the mean
    z: Tensor  # [S, S, *latent], rows from the top
    x: Tensor  # [S, S, *shape]
    share: float  # of the codes' variance that lies in the plane
    around: Tensor | None = None  # samples that points of a plane are shown against

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {"axes": list(self.names), "values": self.values.tolist(), "share_of_variance": self.share}

    def picture(self) -> Any:
        """A PIL image."""
        return plane_picture(self.spec, self.x, self.values.tolist(), self.names, self.around)


def manifold(
    model: GenerativeModel,
    codes: Tensor,
    *,
    start: Tensor | None = None,
    coordinates: Coordinates = None,
    axes: AxesName | None = None,
    steps: int = 20,
) -> Manifold:
    """decode(z) where z takes the places mean + std Phi^-1(p), p evenly from .05 to .95, on two axes of the code.

    Kingma & Welling, 2014, arXiv:1312.6114, Figure 4: equal steps of probability under a normal law. A code of two
    numbers is shown whole; of a longer one two named coordinates, by default the two principal axes of `codes`
    [N, ...]; the other directions stay at `start`, by default the mean.
    """
    size = codes[0].numel()
    if size < 2 or steps < 2:
        raise OptionError(f"A code of {size} number(s) in {steps} steps makes no plane; both must be 2 or more.")
    kind = axes or ("coordinates" if size == 2 or coordinates is not None else "principal")
    if coordinates is None:
        coordinates = (0, 1)
    found = axes_of(codes, kind, coordinates, names=model.code_names)
    if len(found.names) != 2:
        raise OptionError(f"{len(found.names)} coordinates make no plane. Name two, such as 0,1.")
    probabilities = torch.linspace(EDGE, 1 - EDGE, steps, dtype=torch.float64)
    values = torch.special.ndtri(probabilities).to(codes)
    origin = found.location if start is None else start.flatten()
    rows = [found.place(middle, 0, values) for middle in found.place(origin, 1, values.flip(0))]
    z = torch.stack(rows)  # [S, S, K]
    x = decoded(model, z.view(-1, *codes.shape[1:])).view(steps, steps, *model.spec.shape)
    whole = codes.flatten(1).var(dim=0).sum()
    share = float(found.scales.square().sum() / whole.clamp(min=1e-12))
    return Manifold(
        model.spec, found.names, values, z.view(steps, steps, *codes.shape[1:]), x, share, surroundings(model)
    )
