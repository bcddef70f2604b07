"""The way of samples from noise to data, as a denoiser goes it: the states, and the data it expects at each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec, GenerativeModel, Prediction
from exnihilo.data.figures import BLUE, GREY, INK, drawn, new_figure
from exnihilo.data.render import as_bytes

CELL, LEFT, TOP = 0.62, 0.75, 0.3  # inches
POINTS = 500  # of a plane, for a picture


#: t, x_t [B, *shape] and the expected data.
Look = tuple[float, Tensor, Tensor]


@dataclass(frozen=True)
class DenoisingPath:
    """States x_t of samples and the expected data, at a few of the times that the sampler visits, and the samples."""

    times: Tensor  # [S] falling
    x: Tensor  # [S, B, *shape]
    data: Tensor  # [S, B, *shape]
    samples: Tensor  # [B, *shape]

    def tensors(self) -> dict[str, Tensor]:
        """To be stored."""
        return {"way_times": self.times, "way_x": self.x, "way_data": self.data, "way_samples": self.samples}

    @classmethod
    def of(cls, stored: Mapping[str, Tensor]) -> DenoisingPath | None:
        """The inverse of `tensors`; None where there are none."""
        if "way_x" not in stored:
            return None
        return cls(*(stored[f"way_{name}"] for name in ("times", "x", "data", "samples")))

    def picture(self, spec: DataSpec) -> Any:
        """A PIL image. Pictures: two rows a sample, the state above and the expected data below, the sample at the
        right; points of a plane: all of them, a panel each. States are shown with a deviation of at most 1."""
        check_shown(spec)
        states = self.x / self.x.flatten(1).std(dim=1).clamp_min(1.0).view(-1, *[1] * (self.x.ndim - 1))
        rows = [torch.cat([part, self.samples[None]]) for part in (states, self.data)]  # [S + 1, B, *shape]
        titles = [f"t = {t:.2g}" for t in self.times.tolist()] + ["sample"]
        return _grid(spec, rows, titles) if spec.kind == "image" else _panels(spec, rows, titles)


def is_shown(spec: DataSpec) -> bool:
    """Whether the way of such data can be seen: of pictures and points of a plane."""
    return spec.kind == "image" or (spec.kind == "vector" and spec.shape == (2,))


def check_shown(spec: DataSpec) -> None:
    """A DataError where such a way is not shown as a picture."""
    if not is_shown(spec):
        raise DataError(f"The way from noise is shown for pictures and points of a plane, not for {spec.kind} data.")


@contextmanager
def watched(model: GenerativeModel) -> Iterator[list[Look]]:
    """While it is open, what `model.denoise` is asked and answers is written down: (t, x_t, expected data)."""
    looks: list[Look] = []
    denoise = model.denoise

    def recorded(x: Tensor, t: Tensor, **asked: Any) -> Prediction:
        answer = denoise(x, t, **asked)
        looks.append((float(t[0]), x.detach().cpu(), answer.data.detach().cpu()))
        return answer

    model.__dict__["denoise"] = recorded  # of this instance, in front of the class's
    try:
        yield looks
    finally:
        del model.__dict__["denoise"]


def denoising_path(
    model: GenerativeModel, n: int = 4, *, columns: int = 8, seed: int = 0, **asked: Any
) -> DenoisingPath:
    """The way of samples 0 to n - 1 of a seed, at about `columns` of the times visited; asked: as of `sample`.

    Guided, it shows what is expected before guidance. Unsupported for models that do not denoise.
    """
    model.require("denoise", "sample")
    with watched(model) as looks:
        samples = model.sample(n, seed=seed, **asked).cpu()
    falling: list[Look] = []
    for look in looks:  # solvers of higher order look twice, adaptive ones also back
        if not falling or look[0] < falling[-1][0]:
            falling.append(look)
    places = sorted({round(place) for place in np.linspace(0, len(falling) - 1, min(columns, len(falling)))})
    chosen = [falling[place] for place in places]
    times = torch.tensor([look[0] for look in chosen])
    x, data = torch.stack([x[:n] for _, x, _ in chosen]), torch.stack([data[:n] for *_, data in chosen])
    return DenoisingPath(times, x, data, samples)


def _grid(spec: DataSpec, rows: list[Tensor], titles: list[str]) -> Any:
    count, across = rows[0].shape[1], len(titles)
    high, wide = spec.shape[1:]
    tall = CELL * high / wide
    size = (LEFT + across * (CELL + 0.05) + 0.1, TOP + count * (2 * tall + 0.14) + 0.05)
    figure = new_figure(*size)
    for sample in range(count):
        for line, (row, name) in enumerate(zip(rows, ("state", "expected"), strict=True)):
            bottom = size[1] - TOP - sample * (2 * tall + 0.14) - (line + 1) * (tall + 0.02)
            for place, raw in enumerate(as_bytes(spec, row[:, sample])):
                left = LEFT + place * (CELL + 0.05)
                axes = figure.add_axes((left / size[0], bottom / size[1], CELL / size[0], tall / size[1]))
                axes.imshow(raw, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color="#d1d5db", linewidth=0.5)
                if sample == 0 and line == 0:
                    axes.set_title(titles[place], fontsize=7, color=GREY, pad=2)
            spot = ((LEFT - 0.06) / size[0], (bottom + tall / 2) / size[1])
            figure.text(*spot, name, ha="right", va="center", fontsize=7, color=INK)
    return drawn(figure)


def _panels(spec: DataSpec, rows: list[Tensor], titles: list[str]) -> Any:
    across = len(titles)
    figure = new_figure(1.5 * across + 0.4, 3.4)
    every = np.asarray(spec.decode(torch.cat([row.flatten(0, 1) for row in rows])))
    low, high = np.quantile(every, 0.005, axis=0), np.quantile(every, 0.995, axis=0)
    for line, (row, name) in enumerate(zip(rows, ("state", "expected"), strict=True)):
        for place, title in enumerate(titles):
            axes = figure.add_subplot(2, across, line * across + place + 1)
            points = np.asarray(spec.decode(row[place]))
            axes.scatter(points[:, 0], points[:, 1], s=2, color=BLUE, linewidths=0, alpha=0.6)
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
            axes.spines[:].set(color="#d1d5db", linewidth=0.5)
            if line == 0:
                axes.set_title(title, fontsize=8, color=GREY)
            if place == 0:
                axes.set_ylabel(name, fontsize=8, color=INK)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.03, top=0.92, wspace=0.06, hspace=0.06)
    return drawn(figure)
