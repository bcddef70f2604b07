"""Texts judged as they run on: every token once, after at least half a window of what stands before it."""

from __future__ import annotations

import math
from typing import TypeGuard

import torch
from torch import Tensor

from exnihilo.core import Data, DataSpec, GenerativeModel
from exnihilo.data import Dataset
from exnihilo.evaluation.ngrams import NGram, runs_of
from exnihilo.evaluation.value import Value
from exnihilo.models.autoregressive import Sequences

WINDOWS = 4000  # at most, spread evenly over the text


def reads_on(model: GenerativeModel, data: Data) -> TypeGuard[Sequences | NGram]:
    """Whether the model tells the rest of a window after its beginning, and the data are a text that runs on."""
    whole = isinstance(data, Dataset) and not data.changes
    return data.spec.kind == "text" and whole and isinstance(model, Sequences | NGram)


def running_windows(data: Data) -> tuple[Tensor, Tensor]:
    """Windows [N, L] that begin every L / 2 tokens, and how many of its tokens each only looks back at, [N].

    A text's first window is counted whole, the others from where the one before them ends; the last one ends with the
    text. So every token is counted once.
    """
    length = data.spec.size
    stride = max(1, length // 2)
    windows, known = [], []
    for run in runs_of(data):
        count = len(run)
        starts = [*range(0, count - length, stride), count - length]
        windows += [run[start : start + length] for start in starts]
        known += [0, *(before + length - start for before, start in zip(starts, starts[1:], strict=False))]
    return torch.stack(windows).long(), torch.tensor(known)


def letters_of(spec: DataSpec, x: Tensor, known: Tensor) -> Tensor:
    """[N] the characters, or bytes, of the tokens that are counted."""
    counted = torch.arange(x.shape[1]) >= known[:, None]
    if spec.tokens != "bpe":
        return counted.sum(dim=1).double()
    long = torch.tensor([len(token) for token in spec.vocabulary], dtype=torch.float64)
    return (long[x] * counted).sum(dim=1)


@torch.no_grad()
def running_likelihood(model: Sequences | NGram, data: Data, source: str, limit: int = WINDOWS) -> tuple[str, Value]:
    """Bits per character, or byte, of a text that runs on, with the 95 % interval over its windows.

    All of the text where it has at most `limit` half windows, else so many evenly spread.
    """
    spec = model.spec
    x, known = running_windows(data)
    chosen = torch.arange(min(limit, len(x))) * len(x) // min(limit, len(x))
    x, known = x[chosen], known[chosen]
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    parts = zip(x.to(device).split(256), known.to(device).split(256), strict=True)
    nats = torch.cat([-model.log_prob_after(*part).double().cpu() for part in parts])
    letters = letters_of(spec, x, known)
    bits = nats / math.log(2)
    mean = float(bits.sum() / letters.sum())
    half = 1.96 * float((bits - mean * letters).square().sum().sqrt() / letters.sum()) if len(x) > 1 else math.inf
    what = "byte" if spec.tokens == "bytes" else "character"
    unit = f"{'byte pairs' if spec.tokens == 'bpe' else spec.tokens} of {spec.levels:,} kinds"
    protocol = (
        f"bits per {what}, each after {max(1, spec.size // 2)} to {spec.size - 1} {unit} before it,"
        f" fewer at a text's beginning | {source} n={len(x)}"
    )
    return f"bits_per_{what}", Value(mean, mean - half, mean + half, len(x), protocol, ("exact",))
