"""How like the data a generator's samples are while it learns: two figures for a journal, none for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exnihilo.core import Batch, GenerativeModel, seeded
from exnihilo.probability.divergences import frechet_normal, matrix_root
from exnihilo.training.budget import mark_every
from exnihilo.training.hooks import Hook

if TYPE_CHECKING:
    from exnihilo.training.trainer import Trainer

EXAMPLES = 256  # samples and real examples that are compared
PROJECTED = 32  # numbers that larger examples are reduced to
ROUNDS = 100  # between two looks at least: each costs about as much as one or two rounds
FEWEST = 8  # examples of a class whose spread is measured


def spread(x: Tensor) -> float:
    """Mean distance between examples [N, ...], each with the next in line: what is left of it when modes collapse."""
    flat = x.flatten(1).double()
    return float((flat - flat.roll(1, dims=0)).norm(dim=1).mean())


def spread_ratio(samples: Tensor, real: Tensor) -> float:
    """How far apart samples [N, ...] are, over how far apart real examples are: 1 = alike, 0 = all the same."""
    return spread(samples) / max(spread(real), 1e-12)


def class_spreads(samples: Tensor, real: Tensor, label: Tensor) -> dict[int, float]:
    """The spread ratio within every class of enough examples; label [N] is that of both."""
    classes, counts = label[label >= 0].unique(return_counts=True)
    return {c: spread_ratio(samples[label == c], real[label == c]) for c in classes[counts >= FEWEST].tolist()}


class Likeness:
    """d(samples) = Frechet distance of the Gaussians of samples and of real examples, over the data's total variance.

    Of the entries as they are, or of 32 fixed random projections where there are more. 0: equal means and covariances;
    1: as far as a generator that makes the data's mean and nothing else. Caution: it sees means and covariances only,
    it is biased upwards, and it compares moments of one training; `evaluate` judges.
    """

    def __init__(self, real: Tensor):
        size = real[0].numel()
        generator = torch.Generator().manual_seed(0)
        draws = torch.randn(size, PROJECTED, generator=generator, dtype=torch.float64) / size**0.5
        self.projection = draws.to(real.device) if size > PROJECTED else None
        self.mean, self.covariance = self.moments(real)
        self.root = matrix_root(self.covariance)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of what is compared."""
        rows = x.flatten(1).double()
        rows = rows if self.projection is None else rows @ self.projection
        return rows.mean(dim=0), torch.cov(rows.T).reshape(rows.shape[1], rows.shape[1])

    def distance(self, samples: Tensor) -> float:
        """Of samples [N, *shape], N at least 2."""
        squared = frechet_normal(self.mean, self.covariance, *self.moments(samples), self.root)
        return float(squared / self.covariance.trace().clamp_min(1e-12))


class Looks(Hook):
    """Adds figures of samples of the averaged weights to some marks, of the same noise each time, where a generator
    plays against a critic: it draws in one pass, and it is games that collapse.

    samples/distance, samples/spread; of a labelled model, whose samples are asked for by the classes of the real
    examples, also samples/class_spread, the smallest of any class, and samples/narrowest_class, its number.
    """

    def __init__(self) -> None:
        self.stage_seen = -1
        self.likeness: Likeness | None = None

    def terms(self, trainer: Trainer) -> dict[str, float]:
        """At the marks that are due; nothing where samples are not finite."""
        if not is_game(trainer) or not is_due(trainer.place.round, trainer.place.rounds[trainer.place.stage]):
            return {}
        model = trainer.model
        assert isinstance(model, GenerativeModel)
        if self.stage_seen != trainer.place.stage:
            self.stage_seen, self.real = trainer.place.stage, real_examples(trainer.validation, model.labelled)
            self.likeness = Likeness(self.real.x) if len(self.real) > 1 else None
        if self.likeness is None:
            return {}
        label = self.real.label if model.labelled else None
        given = self.real.given if "given" in model.takes and isinstance(self.real.given, Tensor) else None
        with trainer.averaged(), torch.no_grad(), seeded("look"):
            samples = model.sample(len(self.real), seed=0, label=label, given=given)
            samples = model.spec.quantise(samples)
        if not samples.isfinite().all():
            return {}
        found = {
            "samples/distance": self.likeness.distance(samples),
            "samples/spread": spread_ratio(samples, self.real.x),
        }
        if label is not None and (ratios := class_spreads(samples, self.real.x, label)):
            narrowest = min(ratios, key=lambda number: ratios[number])
            found |= {"samples/class_spread": ratios[narrowest], "samples/narrowest_class": float(narrowest)}
        return found


def is_game(trainer: Trainer) -> bool:
    """Whether a generator plays against a critic, so that samples are drawn in one pass."""
    model, names = trainer.model, {player.name.removesuffix("s") for player in trainer.players}
    drawn = isinstance(model, GenerativeModel) and "sample" in model.capabilities
    return drawn and {"generator", "critic"} <= names


def is_due(round: int, rounds: int | None) -> bool:
    """Each so many marks that at least a hundred rounds lie between, and at the end: of the place alone, so that a
    resumed training writes the same lines. None: the stage's rounds are not known yet."""
    if rounds is None:
        return False
    every = mark_every(rounds)
    return round >= rounds or round % (every * -(-ROUNDS // every)) == 0


def real_examples(batch: Batch, labelled: bool) -> Batch:
    """Those that samples are compared with; of a labelled model those of known class."""
    if labelled and batch.label is not None:
        batch = batch[batch.label >= 0]
    return batch[:EXAMPLES]
