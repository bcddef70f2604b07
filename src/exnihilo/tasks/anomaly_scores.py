"""How anomalous an example is: by what a model can do, and by what it has to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Batch, DataError, GenerativeModel, OptionError, Unsupported, did_you_mean, listing
from exnihilo.evaluation.likelihood import log_likelihood
from exnihilo.models.projector import Projector
from exnihilo.tasks.judged import device_of

Score = Literal["density", "bound", "energy", "reconstruction", "projection"]

LOSSLESS = 1e-3  # in model space: what restores examples so exactly restores anomalies too
TRAINED_ON = 10_000  # training examples that the baselines look at
KEPT = 0.95  # of the variance, by the components of PCA


def scores_of(model: GenerativeModel) -> list[Score]:
    """The scores that a model has, the first of which is taken unless another is asked for."""
    can = model.capabilities
    have: list[Score] = []
    if "log_prob" in can:
        have.append("density")
    elif "log_prob_bound" in can:
        have.append("bound")
    if "energy" in can:
        have.append("energy")
    if "reconstruct" in can:
        have.append("reconstruction")
    if "decode" in can and model.draws_codes:
        have.append("projection")
    return have


@dataclass(frozen=True)
class Scorer:
    """Anomaly scores of one model, high = anomalous.

    density         -log p(x), exact; discrete entries dequantised, classes summed over, as `evaluate` does it
    bound           minus the importance-weighted bound on log p(x), which an example may exceed in rareness, never fall
                    short of
    energy          the negative log-density up to a constant
    reconstruction  `model.residual` of x and its reconstruction
    projection      `model.residual` of x and the nearest example that a code decodes to (see `Projector`)
    """

    model: GenerativeModel
    score: Score
    projector: Projector = field(default_factory=Projector)
    seed: int = 0

    @classmethod
    def of(cls, model: GenerativeModel, score: Score | None, seed: int) -> Scorer:
        """By the score asked for, or the first that the model has; Unsupported if it has none."""
        have = scores_of(model)
        if score is not None and score not in get_args(Score):
            raise OptionError(
                f"score={score} is not allowed.{did_you_mean(score, get_args(Score))} It takes one of"
                f" {listing(get_args(Score))}."
            )
        if not have or (score is not None and score not in have):
            what = "no anomaly score" if score is None else f"no {score} to score by"
            raise Unsupported(
                f"{model.recipe} has {what}. It can: {listing(model.capabilities)}. Its scores: {listing(have)}."
            )
        return cls(model, score or have[0], Projector(seed=seed), seed)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """[N] scores in float64, and what the model makes of x [N, *shape] where it rebuilds; both on the processor."""
        model, rebuilt = self.model.eval(), None
        x = x.to(device_of(model))
        if self.score in ("density", "bound"):
            scores = -self._log_likelihood(x)
        elif self.score == "energy":
            scores = torch.cat([model.energy(part).double().cpu() for part in x.split(model.chunk)])
        elif self.score == "reconstruction":
            rebuilt = self.rebuild(x)
            if rebuilt is None:
                others = listing(name for name in scores_of(model) if name != "reconstruction")
                raise Unsupported(
                    f"{model.recipe} restores whatever it is given, so its residual tells nothing."
                    f" Other scores that it has: {others}."
                )
            scores = self._residual(x, rebuilt)
        else:
            rebuilt = self.projector.project(model, x).rebuilt
            scores = self._residual(x, rebuilt)
        if scores.isnan().any():
            row = int(scores.isnan().int().argmax())
            raise DataError(f"{model.recipe} gives row {row} no score (not a number). Train it longer or anew.")
        return scores, None if rebuilt is None else rebuilt.cpu()

    def _log_likelihood(self, x: Tensor) -> Tensor:
        """Of x alone: an example's class is not to be known to whoever judges it."""
        summed = self.model.labelled and self.model.spec.classes and self.score == "density"
        label = torch.zeros(len(x), dtype=torch.long, device=x.device) if summed else None  # any: all are summed over
        return log_likelihood(self.model, Batch(x, label=label), seed=self.seed)[0]

    def _residual(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        pairs = zip(x.split(self.model.chunk), rebuilt.split(self.model.chunk), strict=True)
        return torch.cat([self.model.residual(*pair).double().cpu() for pair in pairs])

    @torch.no_grad()
    def rebuild(self, x: Tensor) -> Tensor | None:
        """[N, *shape] reconstructions; None where the model makes none, or loses nothing, which would tell nothing."""
        if "reconstruct" not in self.model.capabilities:
            return None
        x = x.to(device_of(self.model))
        rebuilt = torch.cat([self.model.reconstruct(part) for part in x.split(self.model.chunk)])
        return None if float((x - rebuilt).abs().mean()) < LOSSLESS else rebuilt


# -- what a model has to beat ----------------------------------------------------------------------------------------


def baselines(train: Tensor, seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Scores [N] of flat examples [N, D] by scikit-learn, fitted on training examples [M, D]; high = anomalous.

    Isolation forest (Liu et al., 2008), local outlier factor (Breunig et al., 2000; 20 neighbours), and the squared
    distance to the principal subspace that keeps 95 % of the variance.
    """
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    rows = train.double().numpy()
    forest = IsolationForest(random_state=abs(seed) % 2**31).fit(rows)
    factor = LocalOutlierFactor(n_neighbors=min(20, len(rows) - 1), novelty=True).fit(rows)
    return {
        "isolation forest": lambda x: -torch.from_numpy(forest.score_samples(x.double().numpy())),
        "local outlier factor": lambda x: -torch.from_numpy(factor.score_samples(x.double().numpy())),
        "PCA": _subspace(rows),
    }


def _subspace(rows: np.ndarray) -> Callable[[Tensor], Tensor]:
    from sklearn.decomposition import PCA

    solver = PCA(svd_solver="full").fit(rows)
    enough = int(np.searchsorted(np.cumsum(solver.explained_variance_ratio_), KEPT)) + 1
    kept = min(enough, rows.shape[1] - 1)  # all of them would restore everything

    def distance(x: Tensor) -> Tensor:
        centred = x.double().numpy() - solver.mean_
        axes = solver.components_[:kept]
        return torch.from_numpy(np.square(centred - centred @ axes.T @ axes).sum(axis=1))

    return distance
