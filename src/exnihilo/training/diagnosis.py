"""What goes wrong in training, in plain words: each detector reads terms and tensors and says what to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from exnihilo.core import GenerativeModel, seeded
from exnihilo.training.hooks import Hook

if TYPE_CHECKING:
    from exnihilo.training.trainer import Trainer

#: The lines of the marks so far -> a message, or None while all is well.
Detector = Callable[[Sequence[dict[str, float]]], str | None]

PATIENCE = 5  # marks in a row before a word is said


def critic_wins(lines: Sequence[dict[str, float]]) -> str | None:
    """The critic tells every real from every fake example, mark after mark."""
    recent = [line["critic/accuracy"] for line in lines[-PATIENCE:] if "critic/accuracy" in line]
    if len(recent) < PATIENCE or min(recent) < 0.98:
        return None
    return (
        f"The critic wins: it tells real from fake in {min(recent):.0%} of cases or more, so the generator learns"
        " little. Try a stronger penalty (-o penalty=1), a lower critic rate, or a wider generator."
    )


def generator_gradient_vanishes(lines: Sequence[dict[str, float]]) -> str | None:
    """The generator's gradient is a hundredth of what it was."""
    norms = [line["generator/gradient"] for line in lines if "generator/gradient" in line]
    if len(norms) < 2 * PATIENCE:
        return None
    first, last = sorted(norms[:PATIENCE])[PATIENCE // 2], max(norms[-PATIENCE:])
    if last > 1e-2 * first:
        return None
    return (
        f"The generator's gradient has vanished: its norm fell from {first:.2g} to {last:.2g}."
        " Try the non-saturating objective, a penalty on the critic, or fewer critic steps."
    )


def posterior_collapses(lines: Sequence[dict[str, float]]) -> str | None:
    """No latent unit carries information about the data."""
    active = [line["model/active_units"] for line in lines if "model/active_units" in line]
    if len(active) < 5 * PATIENCE or max(active[-PATIENCE:]) >= 0.5:  # codes may begin to speak late
        return None
    return (
        f"The posterior has collapsed: {active[-1]:.1f} latent units differ from the prior, so the code says nothing of"
        " the data. Try a weaker decoder, fewer latent units, or a warm-up of the divergence."
    )


DETECTORS: tuple[Detector, ...] = (critic_wins, generator_gradient_vanishes, posterior_collapses)


def spread(x: Tensor) -> float:
    """Mean distance between examples, each with the next in line: what is left of it when modes collapse."""
    flat = x.flatten(1).double()
    return float((flat - flat.roll(1, dims=0)).norm(dim=1).mean())


def modes_collapse(samples: Tensor, real: Tensor) -> str | None:
    """Samples lie much closer together than real examples do."""
    ratio = spread(samples) / max(spread(real), 1e-12)
    if ratio > 0.3:
        return None
    return (
        f"Modes have collapsed: samples are {ratio:.0%} as far apart as real examples."
        " Try a penalty on the critic, a lower rate, a larger batch, or a model with a likelihood (vae, flow_matching)."
    )


class Diagnosis(Hook):
    """Runs the detectors at every mark; each warns once, through `warn`."""

    def __init__(self, warn: Callable[[str], None], detectors: Sequence[Detector] = DETECTORS):
        self.warn, self.detectors = warn, detectors
        self.lines: list[dict[str, float]] = []
        self.said: set[str] = set()

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        self.lines.append(line)
        for detector in self.detectors:
            self._say(detector.__name__, detector(self.lines))
        progress = trainer.budget.progress(trainer.place)
        if progress > 0.3 and len(self.lines) % 10 == 0 and "generator/gradient" in line:
            self._look_at_samples(trainer)

    def stage(self, trainer: Trainer) -> None:
        self.lines = []

    def _look_at_samples(self, trainer: Trainer) -> None:
        """Only where a generator plays: it draws in one pass, and it is games that collapse."""
        model = trainer.model
        if isinstance(model, GenerativeModel) and "sample" in model.capabilities:
            real = trainer.validation.x
            with trainer.averaged(), torch.no_grad(), seeded("diagnosis"):
                samples = model.sample(max(2, min(64, len(real))), seed=0)
            self._say("modes_collapse", modes_collapse(samples, real))

    def _say(self, name: str, message: str | None) -> None:
        if message is not None and name not in self.said:
            self.said.add(name)
            self.warn(message)
