"""Detecting anomalies: how rare an example is among normal ones, and how well anomalies are told from these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Data, DataError, DataSpec, GenerativeModel, OptionError
from exnihilo.data import Dataset
from exnihilo.data.render import save_picture, write_whole
from exnihilo.data.rows import encode_rows
from exnihilo.evaluation.value import Value
from exnihilo.tasks.anomaly_scores import TRAINED_ON, Score, Scorer, baselines
from exnihilo.tasks.classes import only_classes, without_classes
from exnihilo.tasks.judged import Judged, fitting, share_value
from exnihilo.tasks.pictures import residual_picture, scores_picture
from exnihilo.tasks.rareness import Rareness, auroc, average_precision

EXAMPLES = 2000  # of each side that are looked at
MOST_COLUMNS = 3  # that are named for a row


@dataclass
class Detected:
    """Scores of examples, what they mean, and - where anomalies are known - how well they are told from normal ones."""

    spec: DataSpec
    recipe: str
    score: Score
    x: Tensor  # [N, *shape] the examples
    row: Tensor  # [N] their places in the source
    scores: Tensor  # [N] float64, high = anomalous
    rareness: Rareness
    false_alarms: float  # the rate that was asked for
    anomalous: Tensor | None = None  # [N] bool, where it is known
    rebuilt: Tensor | None = None  # [N, *shape], where the model rebuilds
    judged: Judged | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def flagged(self) -> Tensor:
        """[N] bool: scores above the threshold."""
        return self.scores > self.rareness.threshold(self.false_alarms)[0]

    def blamed(self) -> list[str]:
        """[N] which columns a row's residual comes from, such as `age 61 %, income 20 %`; empty where none is known."""
        if self.rebuilt is None or not self.spec.columns:
            return [""] * len(self.x)
        off = (self.x - self.rebuilt).abs().flatten(1).double()
        parts = torch.stack([off[:, column.slice].mean(dim=1) for column in self.spec.columns], dim=1)
        shares = parts / parts.sum(dim=1, keepdim=True).clamp_min(1e-12)
        top = shares.topk(min(MOST_COLUMNS, shares.shape[1]), dim=1)
        return [
            ", ".join(
                f"{self.spec.columns[place].name} {share:.0%}"
                for share, place in zip(*pair, strict=True)
                if share >= 0.1
            )
            for pair in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]

    def table(self) -> Any:
        """A DataFrame, a line for each example in their order: row, score, one_in, beyond, flagged ..."""
        import pandas as pd

        share = self.rareness.share(self.scores)
        columns: dict[str, Any] = {"row": self.row.numpy()}
        if self.anomalous is not None:
            columns["anomalous"] = self.anomalous.int().numpy()
        columns |= {
            "score": self.scores.numpy(),
            "one_in": (1 / share).numpy(),
            "beyond": (self.scores > self.rareness.held[-1]).int().numpy(),  # rarer than the held-out examples can tell
            "flagged": self.flagged.int().numpy(),
        }
        if self.rebuilt is not None and self.spec.columns:
            columns["mostly"] = self.blamed()
        return pd.DataFrame(columns)

    def top(self, n: int = 8) -> list[int]:
        """The places of the most anomalous examples."""
        return torch.argsort(self.scores, descending=True, stable=True)[:n].tolist()

    def save(self, folder: str | Path) -> list[Path]:
        """scores.csv, scores.png and, for pictures, examples.png; or one file, .csv or .png (of scores)."""
        place = Path(folder)
        suffix = check_place(place)
        paths = []
        if suffix in ("", ".csv"):
            file = place if suffix else place / "scores.csv"
            frame = self.table()
            paths.append(write_whole(file, lambda draft: frame.to_csv(draft, index=False, float_format="%.7g")))
        facts = {"recipe": self.recipe, "score": self.score, "held_out": self.rareness.n}
        if suffix in ("", ".png"):
            paths.append(save_picture(scores_picture(self), place if suffix else place / "scores.png", facts))
        if not suffix and self.spec.kind == "image":
            paths.append(save_picture(residual_picture(self), place / "examples.png", facts))
        return paths

    def to_json(self) -> dict[str, Any]:
        """Plain values; the scores themselves go into files."""
        threshold, rate = self.rareness.threshold(self.false_alarms)
        return {
            "score": self.score,
            "examples": len(self.x),
            "flagged": int(self.flagged.sum()),
            "threshold": threshold if np.isfinite(threshold) else str(threshold),
            "false_alarms": rate,
            "held_out": self.rareness.n,
            "judged": self.judged.to_json() if self.judged else None,
            "notes": self.notes,
        }


def check_place(path: str | Path) -> str:
    """The ending, as far as scores can be written there; another one is a DataError."""
    suffix = Path(path).suffix.lower()
    if suffix not in ("", ".csv", ".png"):
        raise DataError(f"{path}: scores are written to a folder, or to a file that ends in .csv or .png.")
    return suffix


def detect(
    model: GenerativeModel,
    data: Data,
    *,
    anomalies: Data | None = None,
    anomalous: str | Iterable[str] = (),
    rows: Tensor | None = None,
    score: Score | None = None,
    false_alarms: float = 0.01,
    limit: int = EXAMPLES,
    seed: int = 0,
) -> Detected:
    """How anomalous examples are, calibrated on the normal ones of the validation split.

    The anomalies, if any are known, are all examples of another source (`anomalies`), or of some classes of `data`
    (`anomalous`), which the model must not have seen: train it on `without_classes(data, ...)`, from the shell with
    -d without=CLASS. They are set against the normal examples of the test split, and the model beside an isolation
    forest, the local outlier factor and PCA fitted on the same training split. Without any, the test split is scored,
    or `rows` [N, *shape] in model space. score: see `Scorer`. A false alarm is a normal example that is flagged; the
    rate holds for normal examples like those held out. Caution: a density may be high where no data are - flat
    pictures are often likelier than real ones (Nalisnick et al., 2019, arXiv:1810.09136).
    """
    scorer = Scorer.of(model, score, seed)
    source, (normal, odd, what) = getattr(data, "source", ""), _sides(model, data, anomalies, anomalous)
    held = scorer(normal.split("validation").first(limit).x)[0]
    rareness = Rareness.of(held)
    rate = rareness.threshold(false_alarms)[1]
    notes = []
    if rate > false_alarms:
        notes.append(
            f"{rareness.n} held-out examples can promise no rate of false alarms below {rate:.3g};"
            f" {false_alarms:g} was asked for"
        )
    x, row, truth = _examined(normal, odd, rows, limit)
    scores, rebuilt = scorer(x)
    rebuilt = rebuilt if rebuilt is not None else scorer.rebuild(x)
    detected = Detected(
        model.spec, model.recipe, scorer.score, x, row, scores, rareness, false_alarms, truth,
        None if rebuilt is None else rebuilt.cpu(), notes=notes,
    )  # fmt: skip
    if truth is not None:
        protocol = f"{source} test n={int((~truth).sum())} against {int(truth.sum())} {what}"
        sides = {f"{model.recipe} ({scorer.score})": (held, scores)}
        flat = normal.split("validation").first(limit).x.flatten(1), x.flatten(1)
        for name, solver in baselines(normal.split("train").first(TRAINED_ON).x.flatten(1), seed).items():
            sides[name] = (solver(flat[0]), solver(flat[1]))
        figures = {name: _figures(*pair, truth, false_alarms, protocol) for name, pair in sides.items()}
        detected.judged = Judged(f"anomalies found by {model.recipe}", figures, notes)
    return detected


def _sides(
    model: GenerativeModel, data: Data, anomalies: Data | None, anomalous: str | Iterable[str]
) -> tuple[Data, Data | None, str]:
    """Normal data, anomalies and how to call them, both as the model reads them."""
    anomalous = anomalous if isinstance(anomalous, str) else list(anomalous)
    if anomalies is not None and anomalous:
        raise OptionError("Anomalies are another source or some classes, not both. Give anomalies= or anomalous=.")
    if anomalies is not None:
        return fitting(model, data), fitting(model, anomalies), f"of {getattr(anomalies, 'source', '') or 'others'}"
    if not anomalous:
        return fitting(model, data), None, ""
    odd = only_classes(data, anomalous)
    normal = without_classes(data, anomalous)
    names = normal.options["without"]
    known = set(model.spec.class_names) & set(names.split(","))
    if known or (model.spec.examples == data.spec.examples and model.spec.examples != normal.spec.examples):
        again = f"exnihilo train {model.recipe} {getattr(data, 'source', '') or 'SOURCE'} -d without={names}"
        raise DataError(f"{model.recipe} was trained on examples of {names}, so it cannot find them odd. Try: {again}")
    if not len(odd):
        raise DataError(f"There is no example of {names}.")
    return fitting(model, normal), fitting(model, odd), f"of {names}"


def _examined(normal: Data, odd: Data | None, rows: Tensor | None, limit: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """The examples to be scored, their places in their source, and which of them are anomalous, if known."""
    if rows is not None:
        if tuple(rows.shape[1:]) != normal.spec.shape:
            raise DataError(f"Rows of shape {tuple(rows.shape[1:])} do not fit data of shape {normal.spec.shape}.")
        return rows, torch.arange(len(rows)), None
    x, row = _with_places(normal.split("test"), limit)
    if odd is None:
        return x, row, None
    other, place = _with_places(odd, limit)
    truth = torch.arange(len(x) + len(other)) >= len(x)
    return torch.cat([x, other]), torch.cat([row, place]), truth


def _with_places(data: Data, limit: int) -> tuple[Tensor, Tensor]:
    batch = data.first(limit)
    assert batch.index is not None
    return batch.x, data.places[batch.index] if isinstance(data, Dataset) else batch.index


def _figures(held: Tensor, scores: Tensor, truth: Tensor, false_alarms: float, protocol: str) -> dict[str, Value]:
    """What can be said of one way to score, calibrated on its own scores of the held-out examples."""
    normal, anomalous = scores[~truth], scores[truth]
    rareness = Rareness.of(held)
    threshold, rate = rareness.threshold(false_alarms)
    told = f"threshold for {rate:.3g} false alarms by {rareness.n} held out"
    return {
        "AUROC": auroc(normal, anomalous, protocol),
        "average precision": average_precision(normal, anomalous, protocol),
        "caught": share_value(anomalous > threshold, f"anomalies flagged, {told} | {protocol}"),
        "false alarms": share_value(normal > threshold, f"normal examples flagged, {told} | {protocol}"),
    }


def rows_of_table(spec: DataSpec, frame: Any) -> Tensor:
    """[N, size] the rows of a DataFrame as a model of a table reads them, missing values as such.

    A value missing in a column that training knew without gaps is a DataError that names column and row.
    """
    if spec.kind != "table":
        raise DataError(f"The model was trained on {spec.kind} data, so it reads no rows of a table.")
    x, mask = encode_rows(spec, frame)
    for column in spec.columns:
        gone = ~mask[:, column.start]
        knows = column.missing or column.categories[-1:] == (None,)
        if gone.any() and not knows:
            row = int(gone.int().argmax())
            raise DataError(
                f"Column {column.name!r}, row {row}: a missing value, and training saw none there."
                " Fill it first: exnihilo impute."
            )
        x[gone, column.slice] = 0.0
        if knows:
            x[gone, column.start + column.width - 1] = 1.0  # the flag, or the category of what is missing
    return x
