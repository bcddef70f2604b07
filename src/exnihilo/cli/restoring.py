"""What `restore` and `edit` share: how pictures and masks are read, and how results are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exnihilo.cli.judged import print_judged
from exnihilo.cli.output import print_json, remark
from exnihilo.cli.parameters import pairs

if TYPE_CHECKING:
    from torch import Tensor

    from exnihilo.core import DataSpec
    from exnihilo.data.given_pictures import GivenPictures
    from exnihilo.tasks import Edited, Restored

Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME",
        help="What is drawn anew: the white of a picture, or half, upper, left, right, box, border, lines, pixels.",
    ),
]
Folder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder for the pictures; by default previews/VERB-RUN.")
]
Class = Annotated[str | None, typer.Option(metavar="NAME", help="As this class, for models that take one.")]
Draws = Annotated[int, typer.Option("-n", help="Results for every picture.")]
Some = Annotated[int, typer.Option(min=8, help="To judge: how many pictures of the test split.")]


def read(
    spec: DataSpec, source: str | None, d: list[str] | None, *, colour: bool = False, factor: int = 1
) -> GivenPictures | None:
    """The pictures of a file or folder as the model reads them, None without any; what was done to them is told."""
    from exnihilo.core import OptionError
    from exnihilo.data.given_pictures import given_pictures

    if source is None:
        return None
    options = pairs(d, "-d")
    if set(options) - {"color"} or options.get("color", "grey") != "grey":
        raise OptionError("Pictures that are named take one reading option: -d color=grey.")
    given = given_pictures(spec, source, grey=bool(options) or colour, reduced=factor)
    for note in given.notes:
        remark(note)
    return given


def read_mask(spec: DataSpec, mask: str | None, given: GivenPictures | None) -> str | Tensor | None:
    """A mask by name, or [H, W] from the picture of one, True = known."""
    from exnihilo.data.given_pictures import given_mask
    from exnihilo.tasks.known_parts import MASKS

    if mask is None or (mask in MASKS and not Path(mask).is_file()):
        return mask
    if not Path(mask).suffix:
        return mask  # a name, and there is none such
    return given_mask(spec, mask, sorted(given.sizes) if given else ())


def leave(answer: Restored | Edited, out: Path, json: bool, what: dict[str, Any]) -> None:
    """Save the pictures and print what was found."""
    paths = answer.save(out)
    if json:
        return print_json({"files": [str(path) for path in paths], **what, **answer.to_json()})
    if answer.judged is not None:
        print_judged(answer.judged)
    else:
        count, draws = len(answer.x), len(answer.draws)
        times = "" if draws == 1 else f", {draws} times each"
        print(f"{count} picture{'s' * (count != 1)} by {answer.recipe}, {answer.how}{times}: {out}")
    remark(f"Picture: {paths[0]}")
    return None
