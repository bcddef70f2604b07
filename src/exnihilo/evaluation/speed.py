"""What a model costs: samples per second, network evaluations per sample, numbers it holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from exnihilo.core import GenerativeModel, Noise


@contextmanager
def counted_calls(model: nn.Module) -> Iterator[Counter[nn.Module]]:
    """Counts the calls of the outermost modules with parameters, below the model itself, while it is open."""
    calls: Counter[nn.Module] = Counter()
    depth = 0

    def enter(module: nn.Module, args: object) -> None:
        nonlocal depth
        if depth == 0:
            calls[module] += 1
        depth += 1

    def leave(module: nn.Module, args: object, result: object) -> None:
        nonlocal depth
        depth -= 1

    handles = []
    for module in model.modules():
        if module is not model and next(module.parameters(), None) is not None:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def network_evaluations(model: GenerativeModel) -> int | None:
    """How often one draw calls the model's largest network; None where sampling calls none (a chain, a mixture).

    The largest of the outermost modules that are called at all, so a flow counts 1, a sampler its steps, a pixel model
    its pixels. Guidance that asks twice counts twice, unless it joins both questions in one batch.
    """
    with counted_calls(model) as calls:
        model.sample(2, seed=0)
    if not calls:
        return None
    largest = max(calls, key=lambda module: sum(weight.numel() for weight in module.parameters()))
    return calls[largest]


def numbers(model: nn.Module) -> int:
    """Learned numbers: parameters, or the floating buffers of a model that has none (means, kept examples)."""
    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters or sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point())


def timed_samples(model: GenerativeModel, n: int, seed: int = 0, piece: int = 4096) -> Iterator[tuple[Tensor, float]]:
    """Samples 0 to n - 1 in pieces, on the CPU, each with the seconds that it took.

    The pieces are independent of their size: sample i has its own noise. Only one is in memory at a time.
    """
    for start in range(0, n, piece):
        noise = Noise(seed, range(start, min(start + piece, n)))
        begin = time.perf_counter()
        x = model.sample(len(noise), seed=noise).cpu()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        yield x, time.perf_counter() - begin
