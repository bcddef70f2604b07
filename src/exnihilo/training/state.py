"""Everything that a resume needs, as plain values and tensors; and the weights that others may use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from exnihilo.core import RunError, listing


@dataclass
class Place:
    """Where the training stands: plain values, saved as JSON."""

    stage: int = 0
    round: int = 0  # within the stage
    entered: bool = False  # the stage's `enter` is done
    rounds: list[int | None] = field(default_factory=list)  # of every stage; None until a budget of seconds is measured
    position: int = 0  # batches drawn so far: the place in the data
    seconds: float = 0.0  # spent in rounds and validation
    stage_seconds: float = 0.0
    warm_up: float = 0.0  # of them in the first rounds, which a measurement leaves out
    look: float = 0.0  # seconds of the latest mark, while rounds are measured
    best: float | None = None  # smallest validation figure of this stage ...
    best_round: int = 0  # ... and its round
    rate: float = 1.0  # factor on every learning rate, lowered once after a roll-back
    averaged: int = 0  # rounds in the average

    @property
    def total(self) -> int:
        """Rounds played in all stages."""
        return sum(rounds or 0 for rounds in self.rounds[: self.stage]) + self.round


@dataclass
class State:
    """A moment of training: its place and every tensor, on the processor."""

    place: Place
    tensors: dict[str, Tensor]

    def clone(self) -> State:
        """A copy that no further training touches."""
        values = asdict(self.place)
        return State(Place(**values), {name: tensor.clone() for name, tensor in self.tensors.items()})


def all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and all buffers, also those that stay out of shared weights."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def shared_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and persistent buffers: what a weights file holds."""
    private = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        for name in part._non_persistent_buffers_set
    }
    return {name: tensor for name, tensor in all_tensors(module).items() if name not in private}


@torch.no_grad()
def load_tensors(module: nn.Module, tensors: dict[str, Tensor], only: dict[str, Tensor], source: str) -> None:
    """Fill the tensors named in `only` from `tensors`; a buffer takes the shape that it is given.

    Missing, unknown or misshapen entries are a RunError that names them, before anything is changed.
    """
    if missing := sorted(set(only) - set(tensors)):
        raise RunError(f"{source} lacks {len(missing)} tensors of this model: {listing(missing[:5])}.")
    if unknown := sorted(set(tensors) - set(only)):
        raise RunError(f"{source} holds {len(unknown)} tensors that this model has not: {listing(unknown[:5])}.")
    parameters = dict(module.named_parameters())
    for name, weight in parameters.items():
        if name in only and weight.shape != tensors[name].shape:
            raise RunError(f"{source}: {name} has shape {tuple(tensors[name].shape)}, not {tuple(weight.shape)}.")
    for name, target in only.items():
        value = tensors[name].to(target.device, target.dtype)
        if target.shape == value.shape:
            target.copy_(value)
        else:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, value.clone())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `index/key` tensors; numbers become float64 tensors."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}/{key}": value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for index, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
