"""Restoring pictures: what is hidden, too small or without colour, by a model that was not trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Data, DataError, DataSpec, GenerativeModel, OptionError
from exnihilo.data.render import save_picture
from exnihilo.evaluation.restoration import Realism, mean_value, psnr, ssim, window_of
from exnihilo.evaluation.value import Value
from exnihilo.tasks.impute import fill
from exnihilo.tasks.judged import Judged, fitting, share_value
from exnihilo.tasks.known_parts import KnownPart, known_part
from exnihilo.tasks.redrawing import redrawn, save_draws
from exnihilo.tasks.restored_pictures import restored_picture

TRAINED_ON = 5000  # training pictures that the baselines look at
LARGEST_LINEAR = 4096  # numbers in a picture of which all others are regressed on
RIDGE = 0.05  # of that regression: times D / N and the mean variance, as of `baselines.Gaussian`
STEPS, REPEATS = 50, 5  # where nothing else is asked


@dataclass
class Restored:
    """Pictures, what was known of them, and what was drawn for the rest."""

    spec: DataSpec
    recipe: str
    how: str
    part: KnownPart
    x: Tensor  # [B, *shape] as given; what is unknown of it was not looked at
    draws: Tensor  # [n, B, *shape]
    names: list[str]
    judged: Judged | None = None  # where x is known as a whole
    notes: list[str] = field(default_factory=list)

    def best(self) -> Tensor:
        """[B, *shape] the mean of the draws: nearest to the truth on average, and smoother than anything real."""
        return self.draws.mean(dim=0)

    def picture(self) -> Any:
        """A PIL image: given, drawn and, where it is known, the truth."""
        return restored_picture(self)

    def save(self, folder: str | Path) -> list[Path]:
        """restored.png with some of them side by side, and a PNG of every draw under the name of its picture."""
        folder = Path(folder)
        facts = {"recipe": self.recipe, "restored": self.part.words, "how": self.how}
        paths = [save_picture(self.picture(), folder / "restored.png", facts)]
        return paths + save_draws(self.spec, self.draws, self.names, folder, facts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the pictures themselves go into files."""
        return {
            "known": self.part.words,
            "how": self.how,
            "pictures": len(self.x),
            "draws": len(self.draws),
            "judged": self.judged.to_json() if self.judged else None,
            "notes": self.notes,
        }


def restore(
    model: GenerativeModel,
    pictures: Tensor | Data,
    *,
    mask: str | Tensor | None = None,
    factor: int | None = None,
    colour: bool = False,
    n: int = 1,
    label: str | int | None = None,
    repeats: int = REPEATS,
    names: Sequence[str] = (),
    split: str = "test",
    limit: int = 200,
    seed: int = 0,
    **sampling: Any,
) -> Restored:
    """Draw what is unknown of pictures [B, *shape] given the rest, n times; of `Data`, examples of a split, and judged.

    What is known is one of: mask (a name of `known_parts.MASKS`, or bool [H, W], True = known; what lies outside a
    picture is a mask as well), factor (the pictures are so many times too small, each of their pixels a square), or all
    but the colour. By models that denoise step by step (`redraws`): they are held to what is known after every step,
    and go back `repeats` times so that both parts agree (1 = plain projection, see `GenerativeModel.redraw`); sampling:
    options of `sample`, by default 50 ancestral steps. What a mask hides, by every model that fills gaps (`fill`). Else
    Unsupported. The draw of a picture depends on (seed, its place, the number of the draw) alone.
    """
    data = None
    part = known_part(model.spec, mask=mask, factor=factor, colour=colour)
    if n < 1:
        raise OptionError(f"n={n} is not allowed. At least one answer must be asked for.")
    if not isinstance(pictures, Tensor):
        data = fitting(model, pictures)
        batch = data.split(split).spread(limit)
        assert batch.index is not None
        x, names = batch.x, [f"{split}-{place:04d}" for place in batch.index.tolist()]
    else:
        x, names = pictures, names or [f"{place:04d}" for place in range(len(pictures))]
        if tuple(x.shape[1:]) != model.spec.shape:
            raise DataError(f"Pictures of shape {tuple(x.shape[1:])} do not fit a model of {model.spec.shape}.")
    draws, how = _drawn(model, x, part, n, label, repeats, seed, sampling)
    restored = Restored(model.spec, model.recipe, how, part, x, draws, list(names))
    if data is not None:
        about = f"{getattr(pictures, 'source', '')} {split} n={len(x)}, {part.words}, seed {seed}"
        restored.judged = _judged(restored, data, batch.label, about, seed)
    return restored


def _drawn(
    model: GenerativeModel,
    x: Tensor,
    part: KnownPart,
    n: int,
    label: str | int | None,
    repeats: int,
    seed: int,
    sampling: dict[str, Any],
) -> tuple[Tensor, str]:
    """[n, B, *shape], and how they were made."""
    if part.mask is not None and not model.redraws:
        if label is not None or sampling:
            raise OptionError(
                f"{model.recipe} fills what is hidden in its own way, without a class or sampling options. Leave out"
                f" {', '.join([*(['label'] if label is not None else []), *sampling])}."
            )
        filled = fill(model, x, part.mask.expand_as(x), n=n, seed=seed)
        return filled.draws.cpu(), filled.how
    sampling = {"steps": STEPS, "solver": "ancestral", **sampling}
    draws = redrawn(model, x, n=n, label=label, seed=seed, agree=part.agree, repeats=repeats, **sampling)
    return draws, "projection" if repeats == 1 else f"projection, with every ten steps done {repeats} times"


# -- judging ---------------------------------------------------------------------------------------------------------


def _judged(restored: Restored, data: Data, label: Tensor | None, protocol: str, seed: int) -> Judged:
    """Figures of the draws, of their mean, and of what has to be beaten, on pictures whose truth is known."""
    spec, truth = restored.spec, restored.x
    realism = Realism.of(data, truth, seed)
    answers = {restored.recipe: restored.draws[0]}
    if len(restored.draws) > 1:
        answers[f"{restored.recipe}, mean of {len(restored.draws)}"] = restored.best()
    answers |= _baselines(restored.part, data.split("train").spread(TRAINED_ON).x, truth)
    rows = {name: _figures(spec, spec.quantise(x), truth, label, realism, protocol) for name, x in answers.items()}
    rows["truth"] = _figures(spec, truth, truth, label, realism, protocol)
    notes = [f"{restored.recipe}: {restored.how}", "the figures of a model are of one draw for each picture"]
    if (side := window_of(spec)) < 11:
        notes.append(f"SSIM looks through windows of {side} pixels, for these pictures hold none of 11")
    return Judged(f"{restored.part.words}, restored by {restored.recipe}", rows, notes)


def _figures(
    spec: DataSpec, x: Tensor, truth: Tensor, label: Tensor | None, realism: Realism, protocol: str
) -> dict[str, Value]:
    """What can be said of pictures x, rounded as the data are."""
    figures = {
        "PSNR": mean_value(psnr(spec, x, truth), f"dB, of the whole picture, mean over pictures | {protocol}"),
        "SSIM": mean_value(ssim(spec, x, truth), f"structural similarity, mean over pictures | {protocol}"),
        "Frechet ratio": realism.ratio(x, protocol),
    }
    named = realism.named(x) if label is not None else None
    if named is not None and label is not None and (known := label >= 0).any():
        about = f"share that {realism.extractor.name} names as the class of the truth | {protocol}"
        figures["class"] = share_value((named == label)[known], about)
    return figures


def _baselines(part: KnownPart, train: Tensor, x: Tensor) -> dict[str, Tensor]:
    """By name, pictures with the unknown filled from the training pictures, or from the known part alone."""
    seen, rows = part.of(x).flatten(1), part.of(train).flatten(1)
    nearest = torch.cat([torch.cdist(some, rows).argmin(dim=1) for some in seen.split(256)])
    answers = {
        "mean picture": part.agree(train.mean(dim=0).expand_as(x), x),
        "nearest picture": part.agree(train[nearest], x),
    }
    if part.factor > 1:
        answers |= {"nearest pixel": part.of(x), "bicubic": bicubic(x, part.factor)}
    if seen.shape[1] <= LARGEST_LINEAR:
        answers["linear regression"] = part.agree(_regressed(train.flatten(1), rows, seen).view_as(x), x)
    return answers


def bicubic(x: Tensor, factor: int) -> Tensor:
    """Pictures [B, C, H, W] reduced to means over squares and enlarged again by bicubic interpolation."""
    small = F.avg_pool2d(x, factor, ceil_mode=True)
    large = F.interpolate(small, scale_factor=factor, mode="bicubic", antialias=True)  # Keys' a = -0.5
    return large[..., : x.shape[-2], : x.shape[-1]]


def _regressed(train: Tensor, rows: Tensor, seen: Tensor) -> Tensor:
    """[B, D] the expected picture given what is seen [B, D], were all Gaussian: ridge regression of the training
    pictures [N, D] on the known parts of them, rows [N, D]."""
    target, given = train.double(), rows.double()
    target_mean, given_mean = target.mean(dim=0), given.mean(dim=0)
    target, given = target - target_mean, given - given_mean
    ridge = max(RIDGE * train.shape[1] / len(train), 1e-6) * float(target.square().mean()) * len(train)
    eye = torch.eye(train.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(given.T @ given + ridge * eye, given.T @ target)
    return ((seen.double() - given_mean) @ weights + target_mean).to(train)
