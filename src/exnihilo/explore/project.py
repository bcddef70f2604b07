"""Projection: codes as points of a plane, coloured by what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from exnihilo.core import Data, DataError, DataSpec, GenerativeModel
from exnihilo.core.noise import hash_key
from exnihilo.explore.codes import encoded, some_examples
from exnihilo.explore.pictures import maps_picture

Method = Literal["auto", "pca", "tsne"]
NEIGHBOURS = 12  # on which trustworthiness is taken
PERPLEXITY = 30.0
TITLES = {"pca": "principal axes", "tsne": "t-SNE", "codes": "the code itself"}


@dataclass(frozen=True)
class Projection:
    """Codes and, for comparison, the raw data of the same examples as points [N, 2] of a plane.

    trustworthiness: of the map of the codes against the codes. raw_trustworthiness: of the same map made of the raw
    data, against the raw data. code_trustworthiness: of the codes themselves against the raw data.
    """

    spec: DataSpec
    method: str
    points: Tensor
    raw_points: Tensor
    label: Tensor | None  # [N], -1 unknown
    trustworthiness: float
    raw_trustworthiness: float
    code_trustworthiness: float
    size: int  # numbers in a code

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "n": len(self.points),
            "neighbours": NEIGHBOURS,
            "code": self.size,
            "trustworthiness": self.trustworthiness,
            "raw_trustworthiness": self.raw_trustworthiness,
            "code_trustworthiness": self.code_trustworthiness,
        }

    def picture(self) -> Any:
        """A PIL image: the codes on the left, the raw data on the right."""
        raw = "pca" if self.method == "codes" else self.method
        code_title = f"codes ({self.size} numbers): {TITLES[self.method]}, trustworthiness {self.trustworthiness:.3f}"
        raw_title = f"raw data ({self.spec.size}): {TITLES[raw]}, trustworthiness {self.raw_trustworthiness:.3f}"
        maps = {code_title: self.points, raw_title: self.raw_points}
        return maps_picture(self.spec, maps, self.label)


def project(
    model: GenerativeModel, data: Data, *, method: Method = "auto", split: str = "test", n: int = 1000, seed: int = 0
) -> Projection:
    """A map of the codes of at most n examples of a split, beside a map of the raw data made in the same way.

    pca: the two principal axes. tsne: van der Maaten & Hinton, 2008, by scikit-learn, begun from the principal axes.
    auto: the code itself where it has two numbers, else tsne. Trustworthiness (Venna & Kaski, 2001): 1 less the ranks
    by which neighbours in the map were no neighbours before, k = 12; 1 = all were, 0.5 = chance. Caution: t-SNE keeps
    neighbours; distances and sizes of its clusters mean nothing. Unsupported where the model does not encode.
    """
    model.require("encode")
    batch = some_examples(model, data, split, n)
    if len(batch) < 2 * NEIGHBOURS + 2:
        raise DataError(
            f"The {split} split has {len(batch)} examples; a map needs {2 * NEIGHBOURS + 2}. Use --split train."
        )
    codes, raw = encoded(model, batch.x).flatten(1).double(), batch.x.flatten(1).double()
    size = codes.shape[1]
    used = ("codes" if size == 2 else "tsne") if method == "auto" else method
    points = codes if used == "codes" else _plane(codes, used, seed)
    raw_points = raw if raw.shape[1] == 2 else _plane(raw, "pca" if used == "codes" else used, seed)
    return Projection(
        model.spec, used, points, raw_points, batch.label, _trust(codes, points), _trust(raw, raw_points),
        _trust(raw, codes), size,
    )  # fmt: skip


def _trust(before: Tensor, after: Tensor) -> float:
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(before.numpy(), after.numpy(), n_neighbors=NEIGHBOURS))


def _plane(rows: Tensor, method: str, seed: int) -> Tensor:
    """[N, K] -> [N, 2], each axis signed so that its largest entry is positive."""
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
        solver = TSNE(2, perplexity=perplexity, init="pca", random_state=hash_key("tsne", seed) % 2**31)
        padded = rows if rows.shape[1] > 1 else torch.cat([rows, torch.zeros_like(rows)], dim=1)
        return torch.from_numpy(solver.fit_transform(padded.numpy())).double()
    centred = rows - rows.mean(dim=0)
    left, spread, _ = torch.linalg.svd(centred, full_matrices=False)
    points = torch.nn.functional.pad((left * spread)[:, :2], (0, max(0, 2 - rows.shape[1])))
    largest = points.gather(0, points.abs().argmax(dim=0, keepdim=True))
    return points * torch.where(largest < 0, -1.0, 1.0)
