"""The one file that knows device, precision, compilation and threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Data, OptionError, Trainable, seeded

Precision = Literal["float32", "bfloat16", "float16"]

SCALING = ("scale", "_growth_tracker")  # of the state of torch's gradient scaler: what training moves


class Hardware:
    """Where and how a model computes; models themselves never mention it."""

    def __init__(self, device: str = "auto", precision: Precision = "float32", compile: bool = False):
        self.device = pick_device(device)
        self.precision = precision
        self.compile = compile
        self.scaler = torch.amp.GradScaler(self.device.type) if precision == "float16" else None

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision for a loss; nothing in float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))

    def compiled(self, loss: Callable[[Batch], dict[str, Tensor]]) -> Callable[[Batch], dict[str, Tensor]]:
        """The loss through torch.compile, where asked."""
        return torch.compile(loss) if self.compile else loss  # type: ignore[no-any-return]

    def backward(self, loss: Tensor) -> None:
        """Gradients, scaled in float16 so that small ones survive."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, clip: float | None) -> Tensor:
        """One step; returns the norm of the gradient before clipping."""
        if self.scaler:
            self.scaler.unscale_(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # of the whole gradient
        if clip is not None:
            nn.utils.clip_grads_with_norm_(optimizer.param_groups[0]["params"], clip, norm)
        if self.scaler is None:
            optimizer.step()
            return norm
        self.scaler.step(optimizer)
        self.scaler.update()
        return norm.nan_to_num(0.0, 0.0, 0.0)  # too large for float16: the step was left out, the next is scaled less

    def scaling(self) -> dict[str, Tensor]:
        """What training has made of float16's scale, for a state; nothing in other precisions."""
        if self.scaler is None:
            return {}
        state = self.scaler.state_dict()
        return {name: torch.tensor(float(state[name]), dtype=torch.float64) for name in SCALING if name in state}

    def restore_scaling(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `scaling`."""
        if self.scaler is not None and tensors:
            found = {name: float(value) for name, value in tensors.items()}
            found["_growth_tracker"] = int(found["_growth_tracker"])
            self.scaler.load_state_dict(self.scaler.state_dict() | found)


def pick_device(name: str) -> torch.device:
    """`auto` is the first accelerator, else the processor; an absent device is an OptionError."""
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"There is no device {name!r} here. Use auto, cpu or cuda.") from error
    return device


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Inside, torch uses `count` threads; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(model: Trainable, data: Data, device: torch.device) -> int:
    """The faster of one thread and all cores, by one measured turn of the players each on a copy of the model.

    On shared virtual machines two threads can be four times slower than one. `OMP_NUM_THREADS` decides where it is set.
    """
    given = "OMP_NUM_THREADS" in os.environ or device.type != "cpu"
    if given or not any(list(stage.players()) for stage in model.stages()):  # closed forms have no turn to measure
        return torch.get_num_threads()
    candidates = sorted({1, torch.get_num_threads(), os.cpu_count() or 1})
    return min(candidates, key=lambda count: turn_seconds(model, data, count))


def turn_seconds(model: Trainable, data: Data, count: int) -> float:
    """Seconds of the losses and gradients of the first stage with players on a copy, the better of two turns."""
    model = deepcopy(model).train()
    device = next(model.parameters()).device
    players = next((found for stage in model.stages() if (found := list(stage.players()))), [])
    seconds = []
    with use_threads(count), seeded("threads"):
        for turn in range(3):
            start = time.perf_counter()
            for player in players:
                terms = player.loss(data.batch(turn, model.batch, 0).to(device))
                total = sum(term for term in terms.values() if term.requires_grad)
                if isinstance(total, Tensor):
                    total.backward()  # type: ignore[no-untyped-call]
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def estimate_bytes(model: Trainable, data: Data) -> int:
    """Memory of a training step: weights, gradients, optimiser, averages and what the backward pass keeps."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    copy = deepcopy(model).train()
    batch = data.batch(0, model.batch, 0).to(next(model.parameters()).device)
    with seeded("memory"), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        for stage in copy.stages():
            for player in stage.players():
                player.loss(batch)
            break
    return 7 * weights + kept  # weight, gradient, two moments, average, best and the last good copy
