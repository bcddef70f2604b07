"""`evaluate`: every figure that a model's capabilities and the data's kind allow."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import Data, DataError, DataSpec, Findings, GenerativeModel, TrainingError
from exnihilo.evaluation import coverage, distances, memorisation
from exnihilo.evaluation.denoising import POINTS, DenoisingPath, denoising_path, is_shown
from exnihilo.evaluation.likelihood import EXAMPLES, GAP_EXAMPLES, bound_parts, likelihood
from exnihilo.evaluation.modes import conditional_accuracy, mode_values
from exnihilo.evaluation.normalisers import estimated_values
from exnihilo.evaluation.reference import Reference, confident_share
from exnihilo.evaluation.running_text import reads_on, running_likelihood
from exnihilo.evaluation.speed import network_evaluations, numbers, timed_samples
from exnihilo.evaluation.statistics import FeatureStatistics
from exnihilo.evaluation.texts import text_values
from exnihilo.evaluation.units import in_units_of, same_units
from exnihilo.evaluation.value import Value, exactly

KEPT = 5000  # samples kept for their nearest neighbours
SHOWN, SCATTERED = 64, 500
SHOWN_WAYS = 3  # pictures whose way from noise is kept
RECONSTRUCTED = 256


@dataclass
class Result:
    """The figures of one model, what to know about them, and a few samples for pictures."""

    name: str
    values: dict[str, Value]
    notes: list[str] = field(default_factory=list)
    samples: Tensor | None = None  # [<= 64, *shape], the first ones, not chosen
    neighbours: Tensor | None = None  # the training example nearest to each
    way: DenoisingPath | None = None  # from noise to the first samples, of denoisers
    findings: Findings | None = None  # of a look into the model, where there is anything to look at

    def __getitem__(self, key: str) -> Value:
        return self.values[key]

    def get(self, key: str) -> Value | None:
        """The figure, or None where the model or the data do not allow it."""
        return self.values.get(key)

    @property
    def copies(self) -> bool:
        """Whether the samples lie suspiciously close to the training examples, and not to others like them."""
        ratio, preference = self.values.get("distance_ratio"), self.values.get("preference_ratio")
        return ratio is not None and preference is not None and memorisation.copies(ratio.high, preference.high)

    def to_json(self) -> dict[str, Any]:
        """Plain values with a digest over all of them, by which a table can be checked later."""
        record = {
            "name": self.name,
            "values": {key: value.to_json() for key, value in self.values.items()},
            "notes": self.notes,
            "copies": self.copies,
        }
        return {**record, "digest": digest(record)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Result:
        """The inverse, without the samples; a record that was altered is refused."""
        content = {key: value for key, value in record.items() if key != "digest"}
        if record.get("digest") != digest(content):
            raise DataError(f"The stored evaluation of {record.get('name')} was altered: its digest does not match.")
        values = {key: Value.from_json(value) for key, value in record["values"].items()}
        return cls(record["name"], values, list(record["notes"]))


def digest(record: dict[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a record's canonical JSON."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def evaluate(
    model: GenerativeModel,
    data: Data,
    *,
    n: int | None = None,
    seed: int = 0,
    split: str = "test",
    reference: Reference | None = None,
) -> Result:
    """Judge a model by data that it has not seen.

    n samples (default: as many as training examples, at most 1500), rounded to what data can hold, against `split`.
    Other data than those of the training are brought into the model's units first (see `in_units_of`).
    Models that cannot sample get their likelihood and reconstruction error only. `reference` shares the preparation
    among models. Intervals are of 95 % and cover the drawing of samples, not the luck of the training run.
    """
    mine, theirs = model.spec, data.spec
    shaped = mine.kind == "table" or mine.shape == theirs.shape  # a table is encoded anew, whatever its width
    levels = mine.kind == "text" or mine.levels == theirs.levels  # so is a text, whatever its vocabulary
    if mine.kind != theirs.kind or not levels or not shaped:
        raise DataError(
            f"{model.recipe} was made for {mine.kind} data of shape {mine.shape} and {mine.levels} levels; these are"
            f" {theirs.kind} data of shape {theirs.shape} and {theirs.levels} levels."
        )
    result = Result(model.recipe, {})
    if not same_units(mine, theirs):
        if reference is not None:
            raise DataError(f"{model.recipe} was trained on data in other units than those of the reference.")
        data = in_units_of(mine, data)
        result.notes.append("these are other data than it was trained on; figures are in the units of its training")
    reference = reference or Reference.of(data, n=n, seed=seed, split=split)
    model.eval()
    if reference.split == "train":
        result.notes.append("judged against its own training data: good figures may mean copying")
    if "sample" in model.capabilities:
        _judge_samples(model, reference, result)
    protocol = f"{getattr(data, 'source', '')} {reference.split} n={min(len(reference.test), EXAMPLES)}"
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    test = reference.test[:EXAMPLES].to(device)
    if "log_prob_bound" in model.capabilities:
        part = data.split(reference.split)
        if reads_on(model, part):
            where = f"{getattr(data, 'source', '')} {reference.split}"
            key, value = running_likelihood(model, part, where, EXAMPLES)
        else:
            key, value = likelihood(model, test, protocol, seed=seed)
        result.values[key] = value
        parts = f"{getattr(data, 'source', '')} {reference.split} n={min(len(test), GAP_EXAMPLES)}"
        result.values |= bound_parts(model, test, parts, seed=seed)
    result.values |= estimated_values(model, test, protocol, seed=seed)
    if "reconstruct" in model.capabilities and _compresses(model, test.x[:1]):
        result.values["reconstruction"] = _reconstruction(model, test.x, protocol)
    if {"sample", "denoise"} <= set(model.capabilities) and is_shown(model.spec):
        result.way = denoising_path(model, SHOWN_WAYS if model.spec.kind == "image" else POINTS, seed=seed)
    result.findings = model.findings(test, seed=seed)
    if result.findings is not None:
        result.notes += result.findings.messages
    result.values["numbers"] = exactly(numbers(model), 1, "learned numbers in the model")
    return result


@torch.no_grad()
def _compresses(model: GenerativeModel, x: Tensor) -> bool:
    """Whether the code is shorter than the example: a code of full length restores whatever the model has learnt."""
    return "encode" not in model.capabilities or model.encode(x).numel() < x.numel()


@torch.no_grad()
def _reconstruction(model: GenerativeModel, x: Tensor, protocol: str) -> Value:
    x = x[:RECONSTRUCTED]
    error = torch.cat([(model.reconstruct(part) - part).flatten(1).double().square().mean(1) for part in x.split(256)])
    half = 1.96 * error.std().item() / math.sqrt(len(error))
    mean = error.mean().item()
    return Value(mean, mean - half, mean + half, len(error), f"squared error per entry in model space | {protocol}")


def _judge_samples(model: GenerativeModel, reference: Reference, result: Result) -> None:
    """Draw, reduce to statistics piece by piece, and fill the result with what they say."""
    calls = network_evaluations(model)  # also warms up
    piece = min(4096, max(64, math.ceil(reference.n / 4)))
    keep = min(KEPT, max(SCATTERED, int(128e6 / (4 * model.spec.size))))
    total: FeatureStatistics | None = None
    kept: list[Tensor] = []
    rates: list[float] = []
    seconds = 0.0
    for x, took in timed_samples(model, reference.n, reference.seed, piece):
        if lost := int((~x.flatten(1).isfinite().all(dim=1)).sum()):
            raise TrainingError(f"{lost} of {len(x)} samples are not finite, so the model cannot be judged.")
        x = model.spec.quantise(x)
        done = total.n if total else 0
        part = FeatureStatistics.of(reference.extractor.features(x), done, seed=reference.seed)
        total = part if total is None else total.merge(part)
        if done < keep:
            kept.append(x[: keep - done])
        rates.append(len(x) / max(took, 1e-9))
        seconds += took
    assert total is not None
    samples = torch.cat(kept)
    result.values |= feature_values(total, reference)
    index = _originality(samples, reference, result)
    result.values |= class_values(samples, index, reference)
    result.values |= mode_values(samples, reference.data, reference.protocol)
    result.values |= text_values(samples, reference)
    result.values |= conditional_accuracy(model, reference)
    protocol = f"samples a second, drawn {piece} at a time, {torch.get_num_threads()} thread(s)"
    rate = reference.n / max(seconds, 1e-9)
    result.values["samples_per_second"] = Value(rate, min(*rates, rate), max(*rates, rate), reference.n, protocol)
    if calls is not None:
        result.values["network_evaluations"] = exactly(calls, 1, "calls of the largest network per draw")
    shown = shown_of(model.spec)
    result.samples = samples[:shown].clone()
    result.neighbours = reference.train.x[index[:shown]].clone()


def shown_of(spec: DataSpec) -> int:
    """Samples that are kept to be shown: more of what is shown as points or histograms."""
    return SCATTERED if spec.kind in ("vector", "table") else SHOWN


def feature_values(fake: FeatureStatistics, reference: Reference) -> dict[str, Value]:
    """Distances, fidelity and diversity of samples, from their feature statistics."""
    real, protocol, seed = reference.real, reference.protocol, reference.seed
    distance = distances.frechet(real.gaussian, fake.gaussian)
    half = distances.frechet_interval(fake.rows, real.gaussian, n=fake.n, seed=seed)
    notes = (f"{reference.bias:.3g} is expected of a perfect model at these counts",)
    frechet = Value(
        distance, max(0.0, distance - half), distance + half, fake.n, f"Frechet distance | {protocol}", notes
    )
    kernel = distances.kernel_distance(real.rows, fake.rows)
    half = distances.kernel_interval(real.rows, fake.rows)
    values = {
        "frechet": frechet,
        "ratio": frechet.scaled(
            1 / reference.floor, f"Frechet distance over its floor {reference.floor:.6g} | {protocol}"
        ),
        "kernel": Value(kernel, kernel - half, kernel + half, fake.n, f"kernel distance, cubic | {protocol}"),
    }
    count = min(len(real.rows), len(fake.rows), KEPT)  # the definitions want equal numbers
    a, b = real.rows[:count], fake.rows[:count]
    precision, recall = coverage.precision_recall(a, b)
    density, covered = coverage.density_coverage(a, b)
    perfect = f"{coverage.expected_coverage(count, count):.2f} is expected of a perfect model"
    for name, share, k, note in (
        ("precision", precision, 3, ()),
        ("recall", recall, 3, ()),
        ("coverage", covered, 5, (perfect,)),
    ):
        low, high = coverage.wilson(share, count)
        values[name] = Value(share, low, high, count, f"{name}, k={k}, {count} of each | {protocol}", note)
    values["density"] = exactly(density, count, f"density, k=5, {count} of each | {protocol}")
    return values


def _originality(samples: Tensor, reference: Reference, result: Result) -> Tensor:
    """How far the samples lie from the training examples; returns the number of the nearest one of each."""
    place = reference.place(samples)
    distance, index = memorisation.nearest(place, reference.train_place)
    fresh = reference.fresh_distance
    protocol = f"nearest of {len(reference.train)} training examples in {reference.space} | {reference.protocol}"
    value, low, high = memorisation.distance_ratio(distance, fresh, reference.seed)
    result.values["distance_ratio"] = Value(value, low, high, len(distance), f"median distance ratio, {protocol}")
    prefers = memorisation.preference(distance, memorisation.nearest(place, reference.unseen_place)[0])
    value, low, high = memorisation.distance_ratio(prefers, reference.fresh_preference, reference.seed)
    result.values["preference_ratio"] = Value(
        value, low, high, len(prefers), f"median of nearest training over nearest unseen example, {protocol}",
        ("over that of fresh data; near 0 = copies",),
    )  # fmt: skip
    chance = memorisation.closer(distance, fresh)
    result.values["closer"] = exactly(chance, len(distance), f"chance to lie closer than fresh data, {protocol}")
    if result.copies and reference.split != "train":
        result.notes.append(
            f"its samples lie at {value:.2f} of the distance that fresh data keep from the training examples:"
            " it copies, so its other figures do not count"
        )
    return index


def class_values(samples: Tensor, index: Tensor, reference: Reference) -> dict[str, Value]:
    """Classes reached and their shares, by the class of each sample's nearest training example; confidence.

    index [N]: the nearest training example of each sample.
    """
    values: dict[str, Value] = {}
    classes = reference.data.spec.classes
    train, test = reference.train.label, reference.test.label
    if classes > 1 and train is not None and test is not None:
        shares = coverage.class_shares(train[index], classes)
        wanted = coverage.class_shares(test, classes)
        protocol = f"class of the nearest training example | {reference.protocol}"
        there = int((wanted > 0).sum())
        note = f"of {there}; reached = at least a tenth of its share in the data"
        values["modes"] = exactly(coverage.modes(shares, wanted), len(index), f"classes reached, {protocol}", note)
        distance = coverage.share_distance(shares, wanted)
        values["class_distance"] = exactly(distance, len(index), f"total variation of class shares, {protocol}")
    share = confident_share(reference.extractor, samples)
    if share is not None:
        low, high = coverage.wilson(share, len(samples))
        note = f"{reference.confident:.3f} of the real examples"
        values["confident"] = Value(
            share, low, high, len(samples), f"known with p > 0.9 | {reference.protocol}", (note,)
        )
    return values
