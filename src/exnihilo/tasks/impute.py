"""Filling gaps: what a model makes of missing entries, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Batch, Column, Data, DataError, DataSpec, GenerativeModel, OptionError, Unsupported, listing
from exnihilo.core.noise import hash_key
from exnihilo.core.registry import list_models
from exnihilo.evaluation.value import Value
from exnihilo.tasks.baselines import Gaussian, mean_fill, neighbour_fill
from exnihilo.tasks.gaps import Mechanism, hide, ready, shows
from exnihilo.tasks.judged import Judged, device_of, fitting, ratio_value, share_value

SWEEPS = 200  # of coding and decoding
STILL = 1e-4  # a sweep that moves no entry further than this is the last
LOSSLESS = 0.05  # in model space: a code of full length that changes less has learnt to copy
FEWEST_DRAWS = 20  # for a 90 % interval
TRAINED_ON = 5000  # training examples that the baselines look at
LARGEST_EM = 256  # numbers in an example of which a Gaussian is fitted by sweeps


@dataclass
class Filled:
    """Several answers to the same gaps: [n, B, *shape], n = 1 where the model has one answer only."""

    draws: Tensor
    how: str
    spec: DataSpec
    mask: Tensor

    def best(self) -> Tensor:
        """[B, *shape] the best guess: the mean of a number's draws, the most frequent category."""
        return resolved(self.spec, self.draws.mean(dim=0))


@torch.no_grad()
def fill(model: GenerativeModel, x: Tensor, mask: Tensor, *, n: int = 20, seed: int = 0) -> Filled:
    """n completions of x [B, *shape], whose entries are missing where mask is False; what is there stays as it is.

    By what the model can do: `impute` draws them given the rest. Else, where it codes and decodes with loss, the
    missing entries are replaced by their reconstruction until nothing moves: pseudo-Gibbs without its noise (Rezende
    et al., 2014, arXiv:1401.4082, appendix F), one answer that claims no interval. A model that restores whatever it
    is given learns nothing from that: Unsupported, as for one that can do neither.
    """
    if n < 1:
        raise OptionError(f"n={n} is not allowed. At least one answer must be asked for.")
    device = device_of(model)
    x, mask = ready(model.spec, x.to(device), mask.to(device))
    model.eval()
    if "impute" in model.capabilities:
        rows = x.repeat_interleave(n, dim=0).split(model.chunk)  # the same gaps side by side: some models use that
        known = mask.repeat_interleave(n, dim=0).split(model.chunk)
        drawn = [
            model.impute(part, seen, seed=hash_key("fill", seed, place) >> 1)
            for place, (part, seen) in enumerate(zip(rows, known, strict=True))
        ]
        draws, how = torch.cat(drawn).view(len(x), n, *x.shape[1:]).transpose(0, 1), "impute"
    elif "reconstruct" in model.capabilities:
        settled = [_settle(model, *part) for part in zip(x.split(512), mask.split(512), strict=True)]
        draws, how = torch.cat(settled)[None], "reconstruct"
    else:
        raise _unable(model, "it has neither impute nor reconstruct")
    if not draws.isfinite().all():
        raise DataError(f"{model.recipe} filled gaps with numbers that are not finite. Train it longer or anew.")
    return Filled(torch.where(mask, x, draws), how, model.spec, mask)


def _settle(model: GenerativeModel, x: Tensor, mask: Tensor) -> Tensor:
    """The missing entries replaced by their reconstruction, again and again."""
    restored = model.reconstruct(x)
    lossless = "encode" in model.capabilities and model.encode(x).numel() >= x.numel()
    if lossless and not mask.all() and float((restored - x)[~mask].abs().mean()) < LOSSLESS:
        raise _unable(model, "it restores whatever it is given, gaps included")
    for _ in range(SWEEPS):
        moved = torch.where(mask, x, restored)
        if not mask.all() and float((moved - x)[~mask].abs().max()) < STILL:
            break
        x, restored = moved, model.reconstruct(moved)
    return x


def _unable(model: GenerativeModel, why: str) -> Unsupported:
    able = listing(entry.name for entry in list_models() if "impute" in entry.capabilities)
    return Unsupported(f"{model.recipe} cannot fill gaps: {why}. Models that can: {able}; and autoencoders.")


def categories(spec: DataSpec) -> list[Column]:
    """The columns of categories."""
    return [column for column in spec.columns if column.kind == "category"] if spec.kind == "table" else []


def resolved(spec: DataSpec, x: Tensor) -> Tensor:
    """Shares of categories [B, *shape] made one category each: the largest among those that are none missing."""
    x = x.clone()
    for column in categories(spec):
        shares = x[:, column.slice].clone()
        if column.categories[-1] is None and column.width > 1:
            shares[:, -1] = -torch.inf
        x[:, column.slice] = F.one_hot(shares.argmax(dim=1), column.width).to(x)
    return x


def impute(
    model: GenerativeModel,
    data: Data,
    *,
    fraction: float = 0.5,
    mechanism: Mechanism = "random",
    n: int = 20,
    split: str = "test",
    limit: int = 200,
    incomplete: bool = False,
    seed: int = 0,
) -> Judged:
    """Hide entries of examples that are known, let the model fill them, and judge beside three baselines.

    error: squared error of hidden numbers over the variance of the training data (1 = as good as their mean), by the
    mean of n draws. accuracy: share of hidden categories named rightly. covered: share of hidden numbers within the
    90 % interval of the draws, from n = 20 on. Baselines: mean, ten nearest rows, the Gaussian of the training data.
    incomplete: the training examples miss as much (`with_gaps` with the same arguments was trained on); with
    split="train" their own gaps are the ones that are filled, as in Mattei & Frellsen, 2019, arXiv:1812.02633.
    """
    spec, data, source = model.spec, fitting(model, data), getattr(data, "source", "")
    test, mask = _showing(spec, data.split(split).first(limit), (fraction, mechanism, seed))
    train, seen = _showing(
        spec, data.split("train").first(TRAINED_ON), (fraction, mechanism, seed) if incomplete else None
    )
    _refuse_unseen(spec, seen)
    known = torch.ones_like(mask) if test.mask is None else test.mask
    judge = _Judge(spec, test.x, known & ~mask, train.x, seen)
    protocol = f"{source} {split} n={len(test)}, {fraction:g} hidden ({mechanism}), seed {seed}"
    filled = fill(model, test.x, mask, n=n, seed=seed)
    rows = {model.recipe: judge.figures(filled.best().cpu(), protocol, filled.draws.cpu())}
    x, mask = (part.flatten(1) for part in ready(spec, test.x, mask))
    blank, seen = (part.flatten(1) for part in ready(spec, train.x, seen))
    notes = [f"{model.recipe} filled by {filled.how}" + ("" if len(filled.draws) > 1 else ", one answer each")]
    others = {
        "mean": lambda: mean_fill(blank, seen, x, mask),
        "nearest rows": lambda: neighbour_fill(blank, seen, x, mask),
        "Gaussian": lambda: Gaussian(blank, seen).fill(x, mask),
    }
    if spec.size > LARGEST_EM and not seen.all():
        del others["Gaussian"]
        notes.append(f"no Gaussian row: it takes too long from incomplete examples of {spec.size} numbers")
    for name, answer in others.items():
        rows[name] = judge.figures(resolved(spec, answer().view_as(test.x)), protocol)
    return Judged(f"gaps filled by {model.recipe}", rows, notes)


def _showing(spec: DataSpec, batch: Batch, gaps: tuple[float, Mechanism, int] | None) -> tuple[Batch, Tensor]:
    """The examples that show anything, and what they show once gaps (fraction, mechanism, seed) are made.

    Where a gap would take the last value of an example that has few, it is left out.
    """
    assert batch.index is not None
    known = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
    mask = known
    if gaps is not None:
        mask = known & hide(spec, batch.index, fraction=gaps[0], mechanism=gaps[1], seed=gaps[2])
        mask = torch.where(shows(spec, mask).view(-1, *[1] * (mask.ndim - 1)), mask, known)
    rows = shows(spec, mask)
    return batch[rows], mask[rows]


def _refuse_unseen(spec: DataSpec, seen: Tensor) -> None:
    """A column of which no training example shows a value."""
    for column in spec.columns:
        if not seen[:, column.start].any():
            raise DataError(
                f"Column {column.name!r}: all values of the training split are missing, so nothing can be learnt of it."
                f" Hide a smaller fraction, or leave it out with -d drop={column.name}."
            )


class _Judge:
    """Compares answers with what was hidden."""

    def __init__(self, spec: DataSpec, truth: Tensor, hidden: Tensor, train: Tensor, seen: Tensor):
        self.spec, self.truth, self.hidden = spec, truth, hidden
        count = seen.sum(dim=0).clamp_min(1)
        mean = torch.where(seen, train, 0.0).double().sum(dim=0) / count
        variance = torch.where(seen, (train - mean).square(), 0.0).double().sum(dim=0) / count
        if spec.kind == "image":
            variance = variance.mean().expand(spec.shape)
        self.variance = variance
        numeric = torch.ones(spec.shape, dtype=torch.bool)
        if spec.kind == "table":
            numeric = torch.zeros(spec.shape, dtype=torch.bool)
            numeric[[column.start for column in spec.columns if column.kind == "number"]] = True
        self.numbers = (hidden & numeric & (variance > 0)).flatten(1)  # [B, D] those judged as numbers

    def figures(self, answer: Tensor, protocol: str, draws: Tensor | None = None) -> dict[str, Value]:
        """What can be said of an answer [B, *shape], and of the draws [n, B, *shape] behind it."""
        values: dict[str, Value] = {}
        if self.numbers.any():
            error = ((answer - self.truth).double().square() / self.variance.clamp_min(1e-12)).flatten(1)
            total, count = (error * self.numbers).sum(dim=1), self.numbers.sum(dim=1).double()
            values["error"] = ratio_value(total, count, f"squared error over the variance | {protocol}")
            if draws is not None and len(draws) >= FEWEST_DRAWS:
                values["covered"] = self._covered(draws, protocol)
        right = [
            (answer[:, column.slice].argmax(dim=1) == self.truth[:, column.slice].argmax(dim=1))[hidden]
            for column in categories(self.spec)
            if (hidden := self.hidden[:, column.start]).any()
        ]
        if right:
            values["accuracy"] = share_value(torch.cat(right), f"hidden categories named rightly | {protocol}")
        return values

    def _covered(self, draws: Tensor, protocol: str) -> Value:
        """The share of hidden numbers between the 5 % and the 95 % quantile of their draws.

        Of n draws the quantiles (n + 1) p, between which a further draw lies with probability 0.9 exactly.
        """
        inside = torch.zeros(len(self.truth), dtype=torch.float64)
        for row, numbers in enumerate(self.numbers):
            drawn, truth = draws[:, row].flatten(1)[:, numbers].numpy(), self.truth[row].flatten()[numbers].numpy()
            low, high = np.quantile(drawn, [0.05, 0.95], axis=0, method="weibull")
            inside[row] = float(((truth >= low) & (truth <= high)).sum())
        count = self.numbers.sum(dim=1).double()
        value = ratio_value(inside, count, f"inside the 90 % interval of {len(draws)} draws | {protocol}")
        return replace(value, high=min(1.0, value.high))
