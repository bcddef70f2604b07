"""Codes: of examples, of samples, and enough typical ones to know where codes lie and how far they spread."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, GenerativeModel, Noise, OptionError
from exnihilo.core.conditions import Conditions, resolve_conditions

TYPICAL = 1000  # codes that tell where codes lie
SPLITS = ("train", "validation", "test")


@torch.no_grad()
def encoded(model: GenerativeModel, x: Tensor) -> Tensor:
    """[N, ...] the codes of examples [N, *shape], in parts, on the processor. Unsupported where there are none."""
    model.require("encode")
    return torch.cat([model.encode(part.to(_device(model))).cpu() for part in x.split(model.chunk)])


@torch.no_grad()
def decoded(model: GenerativeModel, z: Tensor) -> Tensor:
    """[N, *shape] the examples of codes [N, ...], in parts, on the processor. Unsupported where there are none."""
    model.require("decode")
    return torch.cat([model.decode(part.to(_device(model))).cpu() for part in z.split(model.chunk)])


def _device(model: GenerativeModel) -> torch.device:
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def codes_of_examples(
    model: GenerativeModel, data: Data, numbers: Sequence[int], *, split: str = "test"
) -> tuple[Tensor, Tensor]:
    """(codes [N, ...], examples [N, *shape]) of the examples with these numbers in a split."""
    model.require("encode", "decode")
    x = examples(model, data, split, numbers).x
    return encoded(model, x), x


@torch.no_grad()
def codes_of_draws(model: GenerativeModel, numbers: Sequence[int], *, seed: int = 0) -> Tensor:
    """[N, ...] the codes from which `model.sample(..., seed=seed)` makes its samples with these numbers.

    So a sheet of samples shows what there is to choose from. Where more is chance than the code (a VAE's pixels, the
    class of a model of labelled data), the code decodes to a mean over it. Unsupported where no code can be drawn.
    """
    if wrong := [number for number in numbers if number < 0]:
        raise OptionError(f"There is no sample {wrong[0]}; samples are counted from 0.")
    model.require("decode")
    noise = Noise(seed, numbers, device=_device(model))
    if model.draws_codes:  # else draw_code says that there are none
        resolve_conditions(Conditions(), len(numbers), model.spec, model.labelled, noise)  # takes what `sample` takes
    return model.draw_code(noise).cpu()


def typical_codes(
    model: GenerativeModel, data: Data | None = None, *, n: int = TYPICAL, split: str = "train", seed: int = 0
) -> Tensor:
    """[n, ...] codes as they occur: of examples where data are given and the model encodes, else drawn ones.

    Codes as long as the examples (a flow's) are drawn in any case: they are made to follow the law they are drawn from,
    and coding can be slow.
    """
    if model.draws_codes:
        long = codes_of_draws(model, [0])[0].numel() >= model.spec.size
        if data is None or long or "encode" not in model.capabilities:
            return codes_of_draws(model, range(n), seed=seed)
    model.require("encode", "decode")
    if data is None:
        raise OptionError(f"{model.recipe} draws no codes, so examples must tell where codes lie. Give data too.")
    return encoded(model, some_examples(model, data, split, n).x)


def surroundings(model: GenerativeModel) -> Tensor | None:
    """[500, 2] samples to show points of a plane against; None for other data, and where nothing is sampled."""
    plane = model.spec.kind == "vector" and model.spec.shape == (2,)
    return model.sample(500, seed=0).cpu() if plane and "sample" in model.capabilities else None


def examples(model: GenerativeModel, data: Data, split: str, numbers: Sequence[int]) -> Batch:
    """The examples with these numbers in a split; a DataError says which numbers there are."""
    part = _part(model, data, split)
    for number in numbers:
        if not 0 <= number < len(part):
            raise DataError(
                f"There is no example {number} in the {split} split; its {len(part)} are 0 to {len(part) - 1}."
            )
    return part.first(max(numbers) + 1)[torch.tensor(list(numbers))]


def some_examples(model: GenerativeModel, data: Data, split: str, n: int) -> Batch:
    """At most n examples of a split, all of them or a fair part."""
    part = _part(model, data, split)
    return part.first() if len(part) <= n else part.batch(0, n, 0)


def _part(model: GenerativeModel, data: Data, split: str) -> Data:
    mine, theirs = model.spec, data.spec
    if (mine.kind, mine.shape, mine.levels) != (theirs.kind, theirs.shape, theirs.levels):
        raise DataError(
            f"{model.recipe} was made for {mine.kind} data of shape {mine.shape} and {mine.levels} levels; these are"
            f" {theirs.kind} data of shape {theirs.shape} and {theirs.levels} levels."
        )
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}. Splits are: {', '.join(SPLITS)}.")
    return data.split(split)
