"""The pictures of restoring and editing: what was given, what was drawn, and the truth where it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from exnihilo.core import DataSpec
from exnihilo.data.render import as_bytes
from exnihilo.tasks.pictures import WIDEST, coloured, sheet

if TYPE_CHECKING:
    from exnihilo.tasks.edit import Edited
    from exnihilo.tasks.restore import Restored

DRAWS = 6  # shown of every picture
HIDDEN = (147, 176, 214)  # a blue that no grey picture has


def restored_picture(restored: Restored) -> Any:
    """A PIL image: a column for each picture, with what was given of it above, and the truth below."""
    part, x, spec = restored.part, restored.x[:WIDEST], restored.spec
    given = _bytes(spec, part.of(x))
    if part.mask is not None:
        given[:, ~part.mask[0].numpy()] = HIDDEN
    rows = {"given": given} | _draw_rows(spec, restored.draws[:, :WIDEST], "restored")
    if restored.judged is not None:
        rows["truth"] = _bytes(spec, x)
    return _columns(rows, f"{restored.part.words}: {restored.recipe}, {restored.how}")


def edited_picture(edited: Edited) -> Any:
    """A PIL image: a column for each picture, the guide above what became of it."""
    rows = {"given": _bytes(edited.spec, edited.x[:WIDEST])}
    rows |= _draw_rows(edited.spec, edited.draws[:, :WIDEST], "edited")
    return _columns(rows, f"{edited.recipe}, {edited.how}")


def curve_picture(spec: DataSpec, rows: dict[str, Tensor], title: str) -> Any:
    """A PIL image of rows of pictures [B, *shape] under their names."""
    return _columns({name: _bytes(spec, x[:WIDEST]) for name, x in rows.items()}, title)


def _draw_rows(spec: DataSpec, draws: Tensor, word: str) -> dict[str, np.ndarray]:
    if len(draws) == 1:
        return {word: _bytes(spec, draws[0])}
    return {f"{word} {number}": _bytes(spec, draw) for number, draw in enumerate(draws[:DRAWS])}


def _bytes(spec: DataSpec, x: Tensor) -> np.ndarray:
    return coloured(as_bytes(spec, x)).copy()


def _columns(rows: dict[str, np.ndarray], title: str) -> Any:
    title = title if len(next(iter(rows.values()))) > 5 else ""  # it would not fit; the file says it too
    return sheet(list(rows.values()), list(rows), [[] for _ in rows], [[] for _ in rows], title)
