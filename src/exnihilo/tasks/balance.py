"""Evening out: samples for the classes that the data hold too little of, and what groups get of a classifier."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exnihilo.core import Data, DataError, DataSpec, GenerativeModel, Unsupported, listing
from exnihilo.data.render import decoded_frame, save_samples, write_whole
from exnihilo.evaluation.value import Value
from exnihilo.tasks.judged import Judged, fitting, share_value
from exnihilo.tasks.represent import labelled

ROUNDS = 100  # passes of the classifier by which the effect is measured


@dataclass
class Balanced:
    """Samples that bring every class to the size of the largest, and what a classifier gains from them."""

    spec: DataSpec
    x: Tensor  # [N, *shape], quantised
    label: Tensor  # [N]
    counts: dict[str, tuple[int, int]]  # by class: real training examples, samples
    judged: Judged

    def save(self, path: str | Path, *, column: str = "label") -> list[Path]:
        """Rows with the class as a further column, a folder of pictures with one folder per class, or .npz."""
        path = Path(path)
        check_place(self.spec, path)
        names = np.array(self.spec.class_names)[self.label.numpy()]
        if path.suffix.lower() == ".npz":
            raw = np.asarray(self.spec.decode(self.x))

            def write(draft: Path) -> None:
                with draft.open("wb") as file:
                    np.savez_compressed(file, x=raw, label=names)

            return [write_whole(path, write)]
        if self.spec.kind == "image":
            return [
                file
                for number in self.label.unique().tolist()
                for file in save_samples(self.spec, self.x[self.label == number], path / self.spec.class_names[number])
            ]
        frame = decoded_frame(self.spec, self.x)
        frame[column] = names
        sign = "," if path.suffix.lower() == ".csv" else "\t"
        return [write_whole(path, lambda draft: frame.to_csv(draft, sep=sign, index=False, float_format="%.7g"))]


def check_place(spec: DataSpec, path: str | Path) -> None:
    """DataError where such samples cannot be written to a path."""
    suffixes = {"image": ("", ".npz"), "table": (".csv", ".tsv")}.get(spec.kind, (".csv", ".tsv", ".npz"))
    if Path(path).suffix.lower() not in suffixes:
        allowed = " or ".join(suffix or "a folder (one per class inside)" for suffix in suffixes)
        raise DataError(f"{path}: samples of {spec.kind} data are not written there. Use {allowed}.")


def balance(model: GenerativeModel, data: Data, *, seed: int = 0) -> Balanced:
    """Draw as many samples of every class as it lacks to the largest one of the training split.

    For models that can be asked for a class. The effect is measured on the test split: the accuracy of a classifier
    (one hidden layer of 128, scikit-learn) trained on the real examples alone, on these with the smaller classes
    repeated, and on these with the samples; `worst group` is the accuracy of the class that fares worst. Samples
    repeat what the model has learnt of few examples, so that repeating these does as well is common: look at both.
    """
    model.require("sample")
    if not (model.labelled and model.spec.classes):
        raise Unsupported(
            f"{model.recipe} cannot be asked for a class, so it cannot fill up the small ones. Train a model that takes"
            " labels on data with labels: exnihilo train ddpm SOURCE -d label=COLUMN, or cvae, flow_matching, pixelcnn."
        )
    source, data = getattr(data, "source", ""), fitting(model, data)
    if data.spec.class_names != model.spec.class_names:
        raise DataError(
            f"{model.recipe} knows the classes {listing(model.spec.class_names)}; these data have"
            f" {listing(data.spec.class_names)}."
        )
    train, test = labelled(data, "train"), labelled(data, "test")
    assert train.label is not None
    assert test.label is not None
    spec = model.spec
    held = torch.bincount(train.label, minlength=spec.classes)
    lacking = (int(held.max()) - held) * (held > 0)
    if not lacking.any():
        raise DataError(f"Every class has {int(held.max())} training examples, so there is nothing to balance.")
    label = torch.repeat_interleave(torch.arange(spec.classes), lacking)
    x = spec.quantise(model.sample(len(label), seed=seed, label=label).cpu())
    counts = {
        name: (real, drawn) for name, real, drawn in zip(spec.class_names, held.tolist(), lacking.tolist(), strict=True)
    }
    again = torch.cat([_repeated(train.label, number, count) for number, count in enumerate(lacking.tolist())])
    sets = {
        "real examples": (train.x, train.label),
        "and smaller classes repeated": (
            torch.cat([train.x, train.x[again]]),
            torch.cat([train.label, train.label[again]]),
        ),
        f"and samples of {model.recipe}": (torch.cat([train.x, x]), torch.cat([train.label, label])),
    }
    rows = {
        name: group_figures(
            _classified(*part, test.x, seed) == test.label, test.label, spec.class_names, f"{source} test"
        )
        for name, part in sets.items()
    }
    unseen = [name for name, (real, _) in counts.items() if not real]
    notes = [f"no training example, so no sample: {listing(unseen)}"] if unseen else []
    return Balanced(spec, x, label, counts, Judged("accuracy of a classifier trained on", rows, notes))


def _repeated(label: Tensor, number: int, count: int) -> Tensor:
    """The rows of a class again and again, `count` of them; none if it has none."""
    rows = (label == number).nonzero()[:, 0]
    return rows.repeat(count // max(len(rows), 1) + 1)[:count] if len(rows) else rows


def _classified(x: Tensor, label: Tensor, test: Tensor, seed: int) -> Tensor:
    """[N] the classes that a small network trained on (x, label) gives the test examples."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many passes are the end here
        solver = MLPClassifier((128,), max_iter=ROUNDS, random_state=abs(seed) % 2**31)
        solver.fit(x.flatten(1).double().numpy(), label.numpy())
    return torch.from_numpy(solver.predict(test.flatten(1).double().numpy()))


def group_figures(
    right: Tensor, group: Tensor, names: tuple[str, ...], protocol: str, *, each: bool = False
) -> dict[str, Value]:
    """Accuracy over all, of the group that fares worst, the spread (standard deviation) over groups; of `each`.

    right [N] bool: named rightly; group [N]: to which group an example belongs, -1 = none. Groups without an example
    do not count.
    """
    parts = {
        names[number]: share_value(right[group == number], f"accuracy of one group | {protocol}")
        for number in range(len(names))
        if (group == number).any()
    }
    worst = min(parts, key=lambda name: parts[name].value)
    low = parts[worst]
    spread = float(np.std([value.value for value in parts.values()]))
    return {
        "accuracy": share_value(right, f"accuracy | {protocol}"),
        "worst group": Value(low.value, low.low, low.high, low.n, low.protocol, (f"it is {worst}",)),
        "spread": Value(spread, spread, spread, len(parts), f"standard deviation over groups | {protocol}"),
        **(parts if each else {}),
    }


@torch.no_grad()
def group_accuracy(
    model: GenerativeModel, x: Tensor, label: Tensor, group: Tensor, names: tuple[str, ...]
) -> dict[str, Value]:
    """What each hidden group of examples gets of a model that classifies: see `group_figures`."""
    model.require("classify")
    answer = torch.cat([model.classify(part).argmax(dim=1) for part in x.split(model.chunk)])
    return group_figures(answer == label, group, names, f"n={len(x)}", each=True)
