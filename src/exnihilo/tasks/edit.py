"""Editing pictures: a model makes of a guide what it has learnt pictures to be, as far as it is let."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from exnihilo.core import Data, DataError, DataSpec, GenerativeModel, Noise, OptionError, Unsupported, listing
from exnihilo.core.noise import hash_key
from exnihilo.data.render import save_picture
from exnihilo.evaluation.restoration import Realism, mean_value, psnr
from exnihilo.evaluation.value import Value
from exnihilo.probability.projections import low_pass
from exnihilo.tasks.judged import Judged, device_of, fitting, share_value
from exnihilo.tasks.known_parts import known_part
from exnihilo.tasks.redrawing import asked_class, redrawn, save_draws
from exnihilo.tasks.restored_pictures import curve_picture, edited_picture

Way = Literal["auto", "noise", "inversion"]
STRENGTHS = (0.2, 0.35, 0.5, 0.65, 0.8)  # at which editing is judged


@dataclass
class Edited:
    """Guides and what became of them."""

    spec: DataSpec
    recipe: str
    how: str
    x: Tensor  # [B, *shape] the guides
    draws: Tensor  # [n, B, *shape]
    names: list[str]
    judged: Judged | None = None
    curve: dict[str, Tensor] = field(default_factory=dict)  # of what was judged: rows of pictures [B, *shape]
    notes: list[str] = field(default_factory=list)

    def picture(self) -> Any:
        """A PIL image: guides above, results below; where editing was judged, a row for each strength."""
        return curve_picture(self.spec, self.curve, self.how) if self.curve else edited_picture(self)

    def save(self, folder: str | Path) -> list[Path]:
        """edited.png with some of them side by side, and a PNG of every result under the name of its guide."""
        folder = Path(folder)
        facts = {"recipe": self.recipe, "edited": self.how}
        paths = [save_picture(self.picture(), folder / "edited.png", facts)]
        return paths + save_draws(self.spec, self.draws, self.names, folder, facts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the pictures themselves go into files."""
        return {
            "how": self.how,
            "pictures": len(self.x),
            "draws": len(self.draws),
            "judged": self.judged.to_json() if self.judged else None,
            "notes": self.notes,
        }


def edit(
    model: GenerativeModel,
    pictures: Tensor | Data,
    *,
    strength: float = 0.5,
    label: str | int | None = None,
    way: Way = "auto",
    mask: str | Tensor | None = None,
    n: int = 1,
    names: Sequence[str] = (),
    rough: int = 2,
    split: str = "test",
    limit: int = 200,
    seed: int = 0,
    **sampling: Any,
) -> Edited:
    """n versions of guides [B, *shape], each farther from them the greater the strength, 0 to 1; with `Data`, judged.

    noise: the guide is noised until noise makes up this share of it, and brought back by the sampler (SDEdit, Meng et
    al., 2022, arXiv:2108.01073), as a class if a label is given; of what a mask says is known (True; or a name of
    `known_parts.MASKS`) nothing is changed. inversion: the guide's code is turned by 90 degrees times the strength
    towards a code drawn at random and decoded: of any model that encodes and draws codes; strength 0 with a label keeps
    all that the code says beside the class. auto: noise, where the model denoises. sampling: options of `sample`.

    Judged, guides are pictures of the split made rough - means over squares of `rough` pixels - and a row tells for
    each strength how near the results keep to them and how real they look. Caution: inversion assumes codes whose law
    is the same in every direction, as a standard normal's is.
    """
    way = _way(model, way)
    if not 0 <= strength <= 1 or (strength == 0 and way == "noise"):
        raise OptionError(
            f"strength={strength:g} is not allowed. It takes a number above 0 and at most 1; default 0.5."
        )
    if n < 1:
        raise OptionError(f"n={n} is not allowed. At least one version must be asked for.")
    if model.spec.kind != "image":
        raise Unsupported(f"Only pictures are edited, and {model.recipe} was trained on {model.spec.kind} data.")
    if way == "inversion" and (mask is not None or sampling):
        raise OptionError(
            f"By inversion, edit takes no {listing([*(['mask'] if mask is not None else []), *sampling])}."
        )
    if mask is not None:
        sampling["agree"] = known_part(model.spec, mask=mask).agree
    asked = _Asked(model, way, label, sampling, seed)
    if isinstance(pictures, Tensor):
        if tuple(pictures.shape[1:]) != model.spec.shape:
            raise DataError(f"Pictures of shape {tuple(pictures.shape[1:])} do not fit a model of {model.spec.shape}.")
        names = names or [f"{place:04d}" for place in range(len(pictures))]
        draws = asked.draws(pictures, strength, n)
        return Edited(model.spec, model.recipe, asked.words(strength), pictures, draws, list(names))
    return _judged(asked, pictures, (strength, n, rough), split, limit)


def _way(model: GenerativeModel, way: Way) -> Way:
    """noise or inversion, if the model can."""
    if way not in get_args(Way):
        raise OptionError(f"way={way} is not allowed. It takes one of {listing(get_args(Way))}; default auto.")
    inverts = model.draws_codes and "encode" in model.capabilities
    if way == "auto":
        way = "noise" if model.redraws or not inverts else "inversion"
    if way == "inversion" and not inverts:
        model.require("encode", "decode")
        model.draw_code(Noise(0, 1))  # says who draws codes
    if way == "noise" and not model.redraws:
        model.redraw(torch.zeros(1, *model.spec.shape), Noise(0, 1))  # says who can
    return way


@dataclass(frozen=True)
class _Asked:
    """How to edit, but for the strength."""

    model: GenerativeModel
    way: Way
    label: str | int | None
    sampling: dict[str, Any]
    seed: int

    @torch.no_grad()
    def draws(self, x: Tensor, strength: float, n: int) -> Tensor:
        """[n, B, *shape] on the processor."""
        if self.way == "inversion":
            return torch.stack([self._turned(x, strength, draw) for draw in range(n)])
        return redrawn(self.model, x, n=n, label=self.label, seed=self.seed, strength=strength, **self.sampling)

    def _turned(self, x: Tensor, strength: float, draw: int) -> Tensor:
        """Decoded from cos(a) code(x) + sin(a) a drawn code, a = strength times 90 degrees."""
        model, device = self.model.eval(), device_of(self.model)
        noise = Noise(hash_key("edit", self.seed, draw) >> 1, len(x), device=device)
        given = {}
        if self.label is not None:
            if "label" not in inspect.signature(model.decode).parameters:
                raise DataError(f"{model.recipe} does not decode by class, so it cannot be asked for one.")
            given = {"label": asked_class(model, self.label, len(x)).label.to(device)}
        angle = 0.5 * math.pi * strength
        parts = []
        for start in range(0, len(x), model.chunk):
            part = slice(start, start + model.chunk)
            code = model.encode(x[part].to(device))
            code = math.cos(angle) * code + math.sin(angle) * model.draw_code(noise[part]).view_as(code)
            parts.append(model.decode(code, **{name: value[part] for name, value in given.items()}).cpu())
        return torch.cat(parts)

    def words(self, strength: float) -> str:
        """What was done."""
        to = "" if self.label is None else f" to class {self.label}"
        return f"strength {strength:g}{to}, by {self.way}"


# -- judging ---------------------------------------------------------------------------------------------------------


def _judged(asked: _Asked, data: Data, amounts: tuple[float, int, int], split: str, limit: int) -> Edited:
    """Guides made rough, edited with several strengths, beside the guides themselves and fresh samples."""
    strength, n, rough = amounts
    model, source = asked.model, getattr(data, "source", "")
    spec, data = model.spec, fitting(model, data)
    if not 1 <= rough <= min(spec.shape[1:]):
        raise OptionError(f"rough={rough} is not allowed. It takes a whole number from 1 to the side; default 2.")
    batch = data.split(split).spread(limit)
    assert batch.index is not None
    guides = spec.quantise(low_pass(batch.x, rough))
    realism = Realism.of(data, batch.x, asked.seed)
    curve = {"true picture": batch.x, "guide": guides}
    draws = asked.draws(guides, strength, n)
    for amount in sorted({*STRENGTHS, strength}):
        found = draws if amount == strength else asked.draws(guides, amount, 1)
        curve[f"strength {amount:g}"] = spec.quantise(found[0])
    curve["fresh sample"] = spec.quantise(asked.draws(guides, 1.0, 1)[0])
    wanted = batch.label
    if asked.label is not None and wanted is not None:
        wanted = torch.full_like(wanted, int(asked_class(model, asked.label, 1).label[0]))
    protocol = f"{source} {split} n={len(guides)}, guides of squares of {rough}, {asked.way}, seed {asked.seed}"
    rows = {name: _figures(spec, x, guides, wanted, realism, protocol) for name, x in curve.items()}
    what = "as rough as the guide" if rough > 1 else "as given"
    notes = [f"guides are {split} pictures, {what}; one result for each"]
    names = [f"{split}-{place:04d}" for place in batch.index.tolist()]
    judged = Judged(f"guides edited by {model.recipe}", rows, notes)
    how = f"{model.recipe}: guides edited by {asked.way}{'' if asked.label is None else f' to class {asked.label}'}"
    return Edited(spec, model.recipe, how, guides, draws, names, judged, curve)


def _figures(
    spec: DataSpec, x: Tensor, guides: Tensor, wanted: Tensor | None, realism: Realism, protocol: str
) -> dict[str, Value]:
    """How near pictures x keep to their guides, and how real they look."""
    figures = {
        "PSNR to guide": mean_value(psnr(spec, x, guides), f"dB, mean over pictures | {protocol}"),
        "Frechet ratio": realism.ratio(x, protocol),
    }
    named = realism.named(x) if wanted is not None else None
    if named is not None and wanted is not None and (known := wanted >= 0).any():
        about = (
            f"share that {realism.extractor.name} names as the class of the guide, or the one asked for | {protocol}"
        )
        figures["class"] = share_value((named == wanted)[known], about)
    return figures
