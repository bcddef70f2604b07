"""Whether samples are where they should be: at the modes of toys, and in the classes that are asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exnihilo.core import Data, GenerativeModel
from exnihilo.data.toy import CENTRES
from exnihilo.evaluation.coverage import wilson
from exnihilo.evaluation.memorisation import nearest
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.value import Value, exactly

NEAR = 3.0  # standard deviations around a centre that count as its mode
FEWEST = 20 / 2500  # the share of samples that a mode needs to count as covered
ASKED = 500  # samples asked for by class
JUDGED = 1000  # real examples by which the judge is judged


def modes_covered(points: Tensor, centres: Tensor, deviation: float) -> tuple[int, float]:
    """How many modes are covered, and the share of high quality: the samples within three deviations of any centre.

    points [N, D], centres [K, D]. A mode is covered by at least 20 of 2500 samples within its three deviations; as in
    VEEGAN (Srivastava et al., 2017, arXiv:1705.07761, Section 4.1), but for the number that one sample would do.
    """
    distance, mode = torch.cdist(points.double(), centres.double()).min(dim=1)
    good = distance <= NEAR * deviation
    counts = torch.bincount(mode[good], minlength=len(centres))
    return int((counts >= max(1, FEWEST * len(points))).sum()), good.double().mean().item()


def mode_values(samples: Tensor, data: Data, protocol: str) -> dict[str, Value]:
    """Modes covered and the share of high quality, in the toy's own units; {} for data without known centres."""
    source: str = getattr(data, "source", "")
    deviation = float(getattr(data, "options", {}).get("noise", 0.0))
    if source not in CENTRES or not deviation:
        return {}
    centres = torch.from_numpy(CENTRES[source])
    n = len(samples)
    covered, share = modes_covered(torch.from_numpy(data.spec.decode(samples)), centres, deviation)
    about = f"within {NEAR:g} deviations of {deviation:g} | {protocol}"
    low, high = wilson(share, n)
    perfect = f"{1 - math.exp(-(NEAR**2) / 2):.3f} is expected of a perfect model"  # of a plane
    return {
        "modes_covered": exactly(covered, n, f"modes with 20 of 2500 samples {about}", f"of {len(centres)}"),
        "high_quality": Value(share, low, high, n, f"share of samples {about}", (perfect,)),
    }


def named(reference: Reference, x: Tensor) -> Tensor:
    """[N] the class of every example [N, *shape]: by the extractor's classifier, or by its nearest training example."""
    answer = reference.extractor.classify(x)
    if answer is not None:
        return answer.argmax(dim=1)
    assert reference.train.label is not None
    known = reference.train[reference.train.label >= 0]
    assert known.label is not None
    return known.label[nearest(reference.place(x), reference.place(known.x))[1]]


def conditional_accuracy(model: GenerativeModel, reference: Reference) -> dict[str, Value]:
    """The share of samples that are named as the class that was asked for; {} for models without labels.

    As many of each class, 500 in all. Caution: the judge errs too (see the note), and a model that draws one example
    of each class has an accuracy of 1.
    """
    classes, test = reference.data.spec.classes, reference.test
    if not model.labelled or classes < 2 or test.label is None or reference.train.label is None:
        return {}
    asked = torch.arange(max(ASKED, classes)) % classes
    x = model.spec.quantise(model.sample(len(asked), seed=reference.seed, label=asked)).cpu()
    right = named(reference, x).eq(asked).double().mean().item()
    real = test[test.label >= 0][:JUDGED]
    assert real.label is not None
    found = named(reference, real.x).eq(real.label).double().mean().item()
    judge = "nearest training example" if reference.extractor.classify(x[:1]) is None else "classifier"
    low, high = wilson(right, len(asked))
    protocol = f"named as asked, {len(asked)} samples, by the {judge} | {reference.protocol}"
    note = f"{found:.3f} of the real examples"
    return {"conditional_accuracy": Value(right, low, high, len(asked), protocol, (note,))}
