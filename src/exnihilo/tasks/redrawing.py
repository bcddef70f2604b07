"""What restoring and editing share: pictures drawn anew by a model that denoises, and files of the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, DataError, DataSpec, GenerativeModel, Noise
from exnihilo.core.noise import hash_key
from exnihilo.data.render import as_bytes, save_picture
from exnihilo.tasks.judged import device_of


@torch.no_grad()
def redrawn(
    model: GenerativeModel, x: Tensor, *, n: int, label: str | int | None, seed: int, **keywords: Any
) -> Tensor:
    """[n, B, *shape] pictures x drawn anew n times, on the processor; keywords: of `GenerativeModel.redraw`.

    The noise of a draw belongs to (seed, draw, place of the picture).
    """
    model.eval()
    device = device_of(model)
    asked = asked_class(model, label, len(x))
    draws = []
    for draw in range(n):
        noise = Noise(hash_key("redrawn", seed, draw) >> 1, len(x), device=device)
        parts = [
            model.redraw(
                x[start : start + model.chunk].to(device),
                noise[start : start + model.chunk],
                asked.part(start, start + model.chunk, device),
                **keywords,
            ).cpu()
            for start in range(0, len(x), model.chunk)
        ]
        draws.append(torch.cat(parts))
    return torch.stack(draws)


def save_draws(spec: DataSpec, draws: Tensor, names: Sequence[str], folder: Path, facts: dict[str, str]) -> list[Path]:
    """NAME.png, or NAME-0.png, NAME-1.png ... of several draws [n, B, *shape]."""
    from PIL import Image

    paths = []
    for number, draw in enumerate(draws):
        ending = f"-{number}" if len(draws) > 1 else ""
        for name, raw in zip(names, as_bytes(spec, draw), strict=True):
            path = folder / "pictures" / f"{Path(name).with_suffix('')}{ending}.png"
            paths.append(save_picture(Image.fromarray(raw), path, facts))
    return paths


def asked_class(model: GenerativeModel, label: str | int | None, n: int) -> Conditions:
    """The class that all n pictures are to be of, or nothing; a DataError where the model knows none."""
    if label is None:
        return NOTHING
    if not model.labelled:
        raise DataError(f"{model.recipe} was trained without labels, so it cannot be asked for a class.")
    name = int(label) if str(label).isdigit() and str(label) not in model.spec.class_names else label
    return Conditions(label=torch.full((n,), model.spec.class_index(name)))
