"""Codes put to work: features for a linear classifier, and an encoder as the start of a supervised network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import (
    Batch,
    Data,
    DataError,
    GenerativeModel,
    OptionError,
    Stage,
    Terms,
    Trainable,
    Unsupported,
    adamw,
    cosine,
    create,
    seeded,
)
from exnihilo.core.noise import hash_key
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.tasks.judged import Judged, device_of, fitting, share_value
from exnihilo.training import Budget, Trainer

EXAMPLES = 20_000  # of each split that are looked at


def represent(
    model: GenerativeModel,
    data: Data,
    *,
    labels: Sequence[int | None] = (10, None),
    draws: int = 5,
    seed: int = 0,
) -> Judged:
    """How well a linear classifier does on the model's codes, beside raw data and principal components.

    labels: known labels per class, None = all. Features are standardised on the training split, the classifier is
    multinomial logistic regression (scikit-learn), accuracy is of the test split; with k labels per class it is
    averaged over `draws` choices of them. PCA has as many components as the code has numbers. Of a VAE this is M1
    (Kingma et al., 2014, arXiv:1406.5298). Mind that beyond about 16 numbers PCA is hard to beat on small pictures.
    """
    model.require("encode")
    source, data = getattr(data, "source", ""), fitting(model, data)
    train, test = labelled(data, "train"), labelled(data, "test")
    codes = [encoded(model, part.x) for part in (train, test)]
    raw = [part.x.flatten(1).numpy().astype(np.float64) for part in (train, test)]
    size = codes[0].shape[1]
    features = {
        f"codes of {model.recipe} ({size})": codes,
        f"raw ({raw[0].shape[1]})": raw,
        f"PCA ({min(size, *raw[0].shape)})": _components(raw, size),
    }
    y, answers = train.label.numpy(), test.label.numpy()  # type: ignore[union-attr]
    rows: dict[str, dict[str, Any]] = {name: {} for name in features}
    for k in labels:
        chosen = [_some(y, k, hash_key("labels", seed, draw)) for draw in range(draws if k else 1)]
        key = f"{k} labels per class" if k else f"all {len(y)} labels"
        for name, (inside, outside) in features.items():
            scale = inside.mean(axis=0), inside.std(axis=0)
            right = [_probe(inside, y, outside, scale, rows_of) == answers for rows_of in chosen]
            protocol = f"accuracy, logistic regression | {source} test n={len(answers)}"
            rows[name][key] = share_value(torch.from_numpy(np.stack(right)), protocol)
    return Judged(f"codes of {model.recipe} as features", rows, _few_notes(y, labels))


def labelled(data: Data, split: str, limit: int = EXAMPLES) -> Batch:
    """The examples of a split whose class is known; without any, a DataError."""
    batch = data.split(split).first(limit)
    if data.spec.classes < 2 or batch.label is None or not (batch.label >= 0).any():
        raise DataError(
            f"The {split} split has no labels, which this needs. Say where they are, such as -d label=COLUMN."
        )
    return batch[batch.label >= 0]


@torch.no_grad()
def encoded(model: GenerativeModel, x: Tensor) -> np.ndarray:
    """[N, K] flat codes in float64."""
    device = device_of(model)
    parts = [model.encode(part.to(device)).flatten(1).cpu() for part in x.split(model.chunk)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


def _components(raw: list[np.ndarray], size: int) -> list[np.ndarray]:
    from sklearn.decomposition import PCA

    solver = PCA(min(size, *raw[0].shape), svd_solver="full").fit(raw[0])
    return [solver.transform(part) for part in raw]


def _some(y: np.ndarray, k: int | None, key: int) -> np.ndarray:
    """The rows of k examples of every class, or of as many as there are; all rows for None."""
    if k is None:
        return np.arange(len(y))
    if k < 1:
        raise OptionError(f"labels={k} is not allowed. It takes a number of labels per class from 1, or none for all.")
    order = np.random.default_rng(abs(key)).permutation(len(y))
    return np.sort(np.concatenate([order[y[order] == number][:k] for number in np.unique(y)]))


def _probe(
    inside: np.ndarray, y: np.ndarray, outside: np.ndarray, scale: tuple[np.ndarray, np.ndarray], rows: np.ndarray
) -> np.ndarray:
    """The classes that logistic regression, fitted on some rows, gives the examples outside."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = scale[0], np.where(scale[1] > 1e-12, scale[1], 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 iterations are the end here
        solver = LogisticRegression(max_iter=300).fit((inside[rows] - mean) / spread, y[rows])
    return np.asarray(solver.predict((outside - mean) / spread))


def _few_notes(y: np.ndarray, labels: Iterable[int | None]) -> list[str]:
    fewest = int(np.bincount(y)[np.unique(y)].min())
    return [f"{k} labels per class: the smallest class has {fewest} only" for k in labels if k and k > fewest]


# -- the encoder as a start ------------------------------------------------------------------------------------------


class CodeClassifier(Trainable):
    """Minimise -log p(y | x), p = softmax(W e(x) + b); e is the model's encoder, which moves as well.

    Hinton & Salakhutdinov, 2006; Erhan et al., 2010: an encoder that was trained without labels is the start. It sees
    the labels of the rows that are told, and no others.
    """

    def __init__(self, model: GenerativeModel, weights: Tensor, size: int, optimizer: OptimizerFactory):
        super().__init__()
        self.model, self.optimizer = model, optimizer
        self.head = nn.Linear(size, model.spec.classes)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, classes] log-probabilities."""
        return self.head(self.model.encode(x).flatten(1)).log_softmax(dim=1)

    def stages(self) -> list[Stage]:
        """One, which draws from the chosen rows only."""
        return [Stage("train", self.players, view=lambda data: data.weighted(self.weights))]  # type: ignore[arg-type]

    def loss(self, batch: Batch) -> Terms:
        """Cross-entropy in nats."""
        assert batch.label is not None
        return {"cross_entropy": F.nll_loss(self(batch.x), batch.label)}

    def validate(self, batch: Batch) -> Terms:
        """None: the validation split holds more labels than the few that training may see."""
        return {}


def initialise(
    model: GenerativeModel,
    data: Data,
    *,
    labels: int = 10,
    steps: int = 300,
    draws: int = 3,
    rate: float = 1e-3,
    seed: int = 0,
) -> Judged:
    """The model's encoder as the start of a classifier, against the same network from scratch, with few labels.

    Both are the encoder and a linear layer on its code, all of it trained for `steps` updates on `labels` examples a
    class; accuracy is of the test split, averaged over `draws` choices of the labels (and new random weights).
    """
    model.require("encode")
    source, data = getattr(data, "source", ""), fitting(model, data)
    train = data.split("train").first()
    test = labelled(data, "test")
    y = labelled(data, "train", len(train)).label.numpy()  # type: ignore[union-attr]
    assert train.label is not None
    known = (train.label >= 0).nonzero()[:, 0]
    right: dict[str, list[np.ndarray]] = {"from the encoder": [], "from scratch": []}
    for draw in range(draws):
        weights = torch.zeros(len(train), dtype=torch.float64)
        weights[known[_some(y, labels, hash_key("labels", seed, draw))]] = 1.0
        fresh = create(model.recipe, model.spec, seed=seed + draw, **model.options)
        for name, start in zip(right, (model, fresh), strict=True):
            classifier = classifier_from(start, data, weights, steps, rate, seed + draw)
            right[name].append(_named(classifier, test.x) == test.label.numpy())  # type: ignore[union-attr]
    protocol = f"accuracy after {steps} updates | {source} test n={len(test)}"
    key = f"{labels} labels per class"
    rows = {name: {key: share_value(torch.from_numpy(np.stack(hits)), protocol)} for name, hits in right.items()}
    return Judged(f"the encoder of {model.recipe} as a start", rows, _few_notes(y, [labels]))


def classifier_from(
    model: GenerativeModel, data: Data, weights: Tensor, steps: int, rate: float, seed: int
) -> CodeClassifier:
    """A copy of the model's encoder with a linear layer, trained on the examples that `weights` [N] draw; in eval mode.

    The model itself stays as it is. Unsupported where its codes pass no gradient.
    """
    own = copy.deepcopy(model)
    with torch.enable_grad():
        code = own.encode(data.split("train").first(2).x.to(device_of(own)))
    if not code.requires_grad:
        raise Unsupported(f"The codes of {model.recipe} pass no gradient, so its encoder cannot learn from labels.")
    with seeded("classifier", seed):
        classifier = CodeClassifier(own, weights, code[0].numel(), adamw(rate, schedule=cosine(hold=0.1)))
    if not Trainer(classifier, data, Budget(steps=steps), seed=seed).run():
        raise KeyboardInterrupt
    return classifier.eval()


@torch.no_grad()
def _named(classifier: CodeClassifier, x: Tensor) -> np.ndarray:
    return np.asarray(torch.cat([classifier(part).argmax(dim=1) for part in x.split(256)]).numpy())
