"""Whether sampled texts are varied, made of passages that occur, and not copied."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.evaluation.descriptors import gram_keys
from exnihilo.evaluation.ngrams import runs_of
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.value import Value, exactly

#: Tokens of a passage that is short enough to be shared by chance, and of one that is not; byte pairs are longer.
SHORT, LONG = {"characters": 5, "bytes": 5, "bpe": 2}, {"characters": 32, "bytes": 32, "bpe": 10}


def text_values(samples: Tensor, reference: Reference) -> dict[str, Value]:
    """Short passages that differ from each other, that occur in test and in training text; long ones that are copied.

    samples [N, L]; {} for other data than text. Every share is noted for as many real examples too - of the test split,
    or of the training split where it is test text they are looked for in. That is what is to be reached: more is not
    better.
    """
    spec = reference.data.spec
    if spec.kind != "text":
        return {}
    unit = "byte pairs" if spec.tokens == "bpe" else spec.tokens
    short, long = SHORT[spec.tokens or "bytes"], LONG[spec.tokens or "bytes"]
    count = min(len(samples), len(reference.unseen))
    fake, real, known = (x[:count].long() for x in (samples, reference.unseen.x, reference.train.x))
    train = runs_of(reference.data.split("train"))
    seen, copied = _passages(train, short), _passages(train, long)
    other = _passages(runs_of(reference.data.split("test")), short)

    def shares(x: Tensor) -> dict[str, float]:
        keys, passages = gram_keys(x, short).flatten(), gram_keys(x, long).flatten()
        found = {
            "distinct": len(keys.unique()) / len(keys),
            "in_test": float(torch.isin(keys, other).double().mean()),
            "in_train": float(torch.isin(keys, seen).double().mean()),
        }
        return found | ({"copied": float(torch.isin(passages, copied).double().mean())} if len(passages) else {})

    about = {
        "distinct": f"different passages of {short} {unit} over all of them",
        "in_test": f"passages of {short} {unit} that occur in the test text",
        "in_train": f"passages of {short} {unit} that occur in the training text",
        "copied": f"passages of {long} {unit} that occur in the training text word by word",
    }
    usual = shares(real) | {"in_test": shares(known)["in_test"]}
    return {
        name: exactly(
            share, count, f"share of {about[name]} | {reference.protocol}", f"{usual[name]:.3f} of real examples"
        )
        for name, share in shares(fake).items()
    }


def _passages(runs: list[Tensor], size: int) -> Tensor:
    """The different sequences of `size` tokens in some texts, as numbers."""
    return torch.cat([gram_keys(run, size) for run in runs]).unique()
