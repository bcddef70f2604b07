"""One class of a model of labelled data, as a model of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, DataError, GenerativeModel, Noise


class OfClass(GenerativeModel):
    """encode, decode and draw of another model, given always the same class: what is left for the code to say."""

    average = False

    def __init__(self, model: GenerativeModel, number: int):
        super().__init__()
        self.model, self.number = model, number
        self.spec, self.recipe, self.options, self.chunk = model.spec, model.recipe, model.options, model.chunk
        self.withdrawn = frozenset(self.class_capabilities()) - frozenset(model.capabilities)

    def _asked(self, n: int, device: torch.device) -> Conditions:
        """Always the class."""
        return Conditions(label=torch.full((n,), self.number, device=device))

    def _given(self, method: Callable[..., Any], x: Tensor) -> Tensor:
        """A method's answer for the class, where it asks for one."""
        takes = "label" in inspect.signature(method).parameters
        answer: Tensor = method(x, label=self._asked(len(x), x.device).label) if takes else method(x)
        return answer

    def encode(self, x: Tensor) -> Tensor:
        return self._given(self.model.encode, x)

    def decode(self, z: Tensor) -> Tensor:
        return self._given(self.model.decode, z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        return self.model.draw_code(noise, self._asked(len(noise), noise.device))

    @property
    def draws_codes(self) -> bool:
        """Whether the model does."""
        return self.model.draws_codes

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Samples of the class."""
        return self.model.draw(noise, self._asked(len(noise), noise.device))


def of_class(model: GenerativeModel, label: str | int) -> OfClass:
    """The model for one class by name or number; a DataError where its decoder takes none."""
    if not model.labelled or "label" not in inspect.signature(model.decode).parameters:
        raise DataError(f"{model.recipe} does not decode by class, so it cannot be asked for one. Leave label out.")
    name = int(label) if str(label).isdigit() and str(label) not in model.spec.class_names else label
    return OfClass(model, model.spec.class_index(name)).eval()
