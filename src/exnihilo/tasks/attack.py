"""Attacking a classifier: how far noise that hardly shows turns its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from exnihilo.core import (
    Batch,
    Data,
    DataError,
    DataSpec,
    GenerativeModel,
    Noise,
    OptionError,
    Trainable,
    Unsupported,
    did_you_mean,
    listing,
)
from exnihilo.core.registry import list_models
from exnihilo.data.render import save_picture
from exnihilo.evaluation.value import Value
from exnihilo.models.projector import resting
from exnihilo.tasks.judged import Judged, device_of, fitting, ratio_value, share_value
from exnihilo.tasks.noise_attacks import Classify, fgsm, iterative, universal
from exnihilo.tasks.pictures import attack_picture
from exnihilo.tasks.represent import CodeClassifier, classifier_from, labelled

Method = Literal["fgsm", "iterative", "universal"]

EXAMPLES = 1000  # test examples, and training examples that a noise for all is made of
PART = 250  # examples at once


@dataclass
class Attacked:
    """Test examples before and after, and what the classifier says of them."""

    spec: DataSpec
    how: str
    eps: float  # in data units, see `reach`
    label: Tensor  # [N] the truth
    x: Tensor  # [N, *shape]
    adverse: Tensor  # [N, *shape]
    before: Tensor  # [N, classes] log-probabilities
    after: Tensor  # [N, classes]
    judged: Judged
    target: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def turned(self) -> Tensor:
        """[N] bool: named rightly before and wrongly after, or - with a target - named so after and not before."""
        before, after = self.before.argmax(dim=1), self.after.argmax(dim=1)
        if self.target is not None:
            return (before != self.target) & (after == self.target)
        return (before == self.label) & (after != self.label)

    def save(self, path: str | Path) -> Path:
        """The picture: originals, noise and attacked pictures, or points of a plane. DataError for other data."""
        check_picture(self.spec, path)
        return save_picture(attack_picture(self), path, {"attack": self.how, "eps": self.eps})


def check_picture(spec: DataSpec, path: str | Path) -> None:
    """DataError where no picture can be made of such data, or not there."""
    if spec.kind != "image" and not (spec.kind == "vector" and spec.shape == (2,)):
        raise DataError(
            f"Attacks on {spec.kind} data of shape {spec.shape} are not shown as a picture. Leave --out out."
        )
    if Path(path).suffix.lower() != ".png":
        raise DataError(f"{path}: the picture goes to a file that ends in .png.")


def attack(
    classifier: GenerativeModel | Trainable,
    data: Data,
    *,
    eps: float = 0.1,
    method: Method = "fgsm",
    target: str | int | None = None,
    steps: int = 20,
    limit: int = EXAMPLES,
    seed: int = 0,
) -> Attacked:
    """Change test examples by at most eps an entry so that they are named wrongly, or as the class `target`.

    classifier: a model that classifies, or a trained network whose call gives log-probabilities. eps: for pictures a
    share of the range from black to white, else standard deviations of a column (see `reach`); categories stay.
    method: one step (`fgsm`), several (`iterative`), or one noise for all, made of training examples (`universal`), see
    `noise_attacks`. Random signs of the same size are
    the row to compare with: what does not do better than they is no attack. Pictures stay within black and white,
    numbers within the data's range; `whole steps` is what remains of it in values that raw data can hold.
    """
    aim, reading, classify = _checked(classifier, data, eps, method, target, steps)
    source, data = getattr(data, "source", ""), reading
    test = labelled(data, "test", limit)
    assert test.label is not None
    train = labelled(data, "train", limit)
    spec = data.spec
    arguments = _Arguments(eps * reach(spec), *_range(spec, torch.cat([train.x, test.x])), method, steps, aim)
    with resting(classifier):
        adverse = arguments.carry_out(classify, test, train)
        signs = Noise(seed, len(test)).uniform(*spec.shape) < 0.5
        random = arguments.cut(test.x + arguments.eps * torch.where(signs, -1.0, 1.0))
        rows = {"as given": test.x, "random signs": random, method: adverse}
        whole = in_whole_steps(spec, test.x, adverse)
        if not torch.equal(whole, adverse):
            rows[f"{method}, whole steps"] = whole
        answers = {name: _answers(classify, x) for name, x in rows.items()}
    unit = "of the range" if spec.levels else "standard deviations"
    protocol = f"{source} test n={len(test)}, eps {eps:g} {unit}"
    figures = {
        name: _figures(spec, test, x, answers[name], answers["as given"], aim, protocol) for name, x in rows.items()
    }
    how = method if aim is None else f"{method} towards {spec.class_names[aim]}"
    judged = Judged(f"answers under attack ({how})", figures)
    return Attacked(spec, how, eps, test.label, test.x, adverse, answers["as given"], answers[method], judged, aim)


def attackable(
    model: GenerativeModel, data: Data, *, steps: int = 500, seed: int = 0
) -> GenerativeModel | CodeClassifier:
    """The model, if it classifies; else its encoder with a linear layer, trained for `steps` on all training labels.

    Unsupported for a model that neither classifies nor encodes.
    """
    if "classify" in model.capabilities:
        return model
    if "encode" not in model.capabilities:
        able = [entry.name for entry in list_models() if "classify" in entry.capabilities]
        raise Unsupported(
            f"{model.recipe} neither classifies nor encodes, so there is nothing to attack. Models that classify:"
            f" {listing(able)}; of one that encodes, the encoder is trained to."
        )
    data = fitting(model, data)
    label = data.split("train").first().label
    labelled(data, "train", 1)  # says if there are none
    assert label is not None
    return classifier_from(model, data, (label >= 0).double(), steps, 1e-3, seed)


def reach(spec: DataSpec) -> Tensor:
    """[*shape] what eps = 1 is in model space: the range of data with levels, one standard deviation of a number.

    0 for categories and for whether a number is there: these are not changed by a little.
    """
    if spec.kind != "table":
        return torch.full(spec.shape, 1.0 - spec.low if spec.levels else 1.0)
    reached = torch.zeros(spec.shape)
    reached[[column.start for column in spec.columns if column.kind == "number"]] = 1.0
    return reached


def in_whole_steps(spec: DataSpec, x: Tensor, adverse: Tensor) -> Tensor:
    """[N, *shape] the change of examples x cut down to whole steps of the raw values, so that it never grows."""
    steps = spec.steps(x)
    kept = ((adverse - x) / steps.clamp_min(1e-12) * (1 + 1e-5)).trunc() * steps
    return torch.where(steps > 0, x + kept, adverse)


def _range(spec: DataSpec, x: Tensor) -> tuple[Tensor, Tensor]:
    """[*shape] the least and the largest that entries can be."""
    if spec.levels:
        return torch.full(spec.shape, spec.low), torch.ones(spec.shape)
    return x.amin(dim=0), x.amax(dim=0)


def _checked(
    classifier: GenerativeModel | Trainable, data: Data, eps: float, method: str, target: str | int | None, steps: int
) -> tuple[int | None, Data, Classify]:
    """The class aimed at, the data as the classifier reads them, and the classifier as a function."""
    if not 0 < eps < float("inf"):
        raise OptionError(f"eps={eps} is not allowed. It takes a number above 0; default 0.1.")
    if method not in get_args(Method):
        hint = did_you_mean(method, get_args(Method))
        raise OptionError(f"method={method} is not allowed.{hint} It takes one of {listing(get_args(Method))}.")
    if steps < 1:
        raise OptionError(f"steps={steps} is not allowed. It takes a whole number from 1; default 20.")
    classify: Classify = classifier  # type: ignore[assignment]
    if isinstance(classifier, GenerativeModel):
        classifier.require("classify")
        classify = classifier.classify
    owner = classifier.model if isinstance(classifier, CodeClassifier) else classifier
    if isinstance(owner, GenerativeModel):
        if data.spec.class_names != owner.spec.class_names:
            raise DataError(
                f"{owner.recipe} knows the classes {listing(owner.spec.class_names)}; these data have"
                f" {listing(data.spec.class_names)}."
            )
        data = fitting(owner, data)
    device = device_of(classifier)  # type: ignore[arg-type]
    aim = None if target is None else data.spec.class_index(target)
    if aim is not None and aim < 0:
        raise OptionError(f"target={target} is not allowed. It takes one of {listing(data.spec.class_names)}.")
    return aim, data, lambda x: classify(x.to(device)).to(x.device)


@dataclass(frozen=True)
class _Arguments:
    """An attack as it was asked for, in model space."""

    eps: Tensor
    low: Tensor
    high: Tensor
    method: str
    steps: int
    aim: int | None

    def cut(self, x: Tensor) -> Tensor:
        """Within what entries can be."""
        return torch.minimum(torch.maximum(x, self.low), self.high)

    def carry_out(self, classify: Classify, test: Batch, train: Batch) -> Tensor:
        """[N, *shape] the attacked test examples."""
        place = {"targeted": self.aim is not None, "low": self.low, "high": self.high}
        if self.method == "universal":
            x, y = self._without_aim(train)
            return self.cut(test.x + universal(classify, x, y, self.eps, steps=5 * self.steps, **place))  # type: ignore[arg-type]
        y = self._wished(test)
        step: Callable[..., Tensor] = fgsm
        if self.method == "iterative":
            step, place["steps"] = iterative, self.steps  # type: ignore[assignment]
        pairs = zip(test.x.split(PART), y.split(PART), strict=True)
        return torch.cat([step(classify, part, own, self.eps, **place) for part, own in pairs])

    def _wished(self, batch: Batch) -> Tensor:
        assert batch.label is not None
        return batch.label if self.aim is None else torch.full_like(batch.label, self.aim)

    def _without_aim(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Examples that are not of the class aimed at already, and what is wished of them."""
        assert batch.label is not None
        kept = batch[batch.label != self.aim] if self.aim is not None else batch
        return kept.x, self._wished(kept)


@torch.no_grad()
def _answers(classify: Classify, x: Tensor) -> Tensor:
    return torch.cat([classify(part) for part in x.split(PART)])


def _figures(
    spec: DataSpec, test: Batch, x: Tensor, answer: Tensor, before: Tensor, aim: int | None, protocol: str
) -> dict[str, Value]:
    """What can be said of the answers to examples x; `before`: to them as they were."""
    assert test.label is not None
    scale = reach(spec)
    change = ((x - test.x).abs() / scale.clamp_min(1e-12) * (scale > 0)).flatten(1).double().sum(dim=1)
    every = torch.full((len(x),), float((scale > 0).sum()), dtype=torch.float64)
    named = answer.argmax(dim=1)
    figures = {"accuracy": share_value(named == test.label, f"test examples named rightly | {protocol}")}
    if aim is not None:
        others = (test.label != aim) & (before.argmax(dim=1) != aim)
        if not others.any():
            raise DataError(f"Every test example is named {spec.class_names[aim]} as it is. Choose another target.")
        about = f"of {int(others.sum())} that neither are {spec.class_names[aim]} nor were named so | {protocol}"
        figures["reached target"] = share_value(named[others] == aim, f"named as the target, {about}")
        chance = answer[others, aim].exp().double()
        figures["p(target)"] = ratio_value(chance, torch.ones_like(chance), f"mean probability of the target, {about}")
    else:
        right = before.argmax(dim=1) == test.label
        if right.any():
            figures["turned"] = share_value(
                (named != test.label)[right], f"of those named rightly as given | {protocol}"
            )
    figures["mean change"] = ratio_value(change, every, f"of an entry, in the units of eps | {protocol}")
    return figures
