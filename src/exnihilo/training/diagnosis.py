"""What goes wrong in training, in plain words: each detector reads the lines of the marks and says what to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from exnihilo.core import GenerativeModel
from exnihilo.training.hooks import Hook

if TYPE_CHECKING:
    from exnihilo.training.trainer import Trainer

#: The terms of one mark, and its `round`.
Line = dict[str, float]

#: The lines of the marks so far -> a message, or None while all is well.
Detector = Callable[[Sequence[Line]], str | None]

PATIENCE = 5  # marks in a row before a word is said
LATE = 15  # marks, of fifty or more a stage, before samples are judged
RECENT = 20  # marks in which swings are counted
NEAR = 0.1  # of the data's variance: samples no farther from the data than this are well on their way
LOOKS = 6  # figures of samples before a trend is told


def series(lines: Sequence[Line], *names: str) -> list[float]:
    """The values of a term, under the first of its names that a line has."""
    found = (next((line[name] for name in names if name in line), None) for line in lines)
    return [value for value in found if value is not None]


def accuracies(lines: Sequence[Line]) -> list[float]:
    """How often the critic scored a real example above a fake one."""
    return series(lines, "critic/accuracy", "critics/accuracy")


def come_nearer(looks: Sequence[float]) -> bool:
    """Whether samples were nearer to the data in the second half of the looks than in the first, by a tenth."""
    half = len(looks) // 2
    return not half or min(looks[half:]) < 0.9 * min(looks[:half])


def critic_wins(lines: Sequence[Line]) -> str | None:
    """The critic tells every real from every fake example, mark after mark, and the samples come no nearer.

    By itself that is no harm: a critic whose slope is bounded may tell all and still teach.
    """
    recent, looks = accuracies(lines)[-PATIENCE:], series(lines, "samples/distance")
    if len(recent) < PATIENCE or min(recent) < 0.99:
        return None
    if looks and (min(looks) < NEAR or come_nearer(looks)):
        return None
    return (
        f"The critic wins: it tells real from fake in {min(recent):.0%} of cases or more, so the generator learns"
        " little. Try a stronger penalty (-o penalty=1), a lower critic rate, or a wider generator."
    )


def critic_loses(lines: Sequence[Line]) -> str | None:
    """The critic scores fakes above reals, mark after mark: worse than a coin."""
    recent = accuracies(lines)[-PATIENCE:]
    if len(recent) < PATIENCE or max(recent) > 0.4:
        return None
    return (
        f"The critic loses: it scores a real example above a fake one in {max(recent):.0%} of cases or less, so what it"
        " teaches is wrong. Try more critic steps, a higher critic rate, or a weaker penalty."
    )


def generator_gradient_vanishes(lines: Sequence[Line]) -> str | None:
    """The generator's gradient is a hundredth of what it was."""
    norms = series(lines, "generator/gradient", "generators/gradient")
    if len(norms) < 2 * PATIENCE:
        return None
    first, last = median(norms[:PATIENCE]), max(norms[-PATIENCE:])
    if last > 1e-2 * first:
        return None
    return (
        f"The generator's gradient has vanished: its norm fell from {first:.2g} to {last:.2g}."
        " Try the non-saturating objective, a penalty on the critic, or fewer critic steps."
    )


def swings(values: Sequence[float], low: float, high: float) -> int:
    """How often a series goes over from below `low` to above `high` or back; what lies between changes nothing."""
    sides = [value > high for value in values if not low <= value <= high]
    return sum(one != other for one, other in zip(sides, sides[1:], strict=False))


def players_oscillate(lines: Sequence[Line]) -> str | None:
    """Generator and critic win in turn: the critic's accuracy, or its loss, goes to and fro by large steps.

    Slow swings only: a mark holds the mean of the rounds since the last one.
    """
    told = accuracies(lines)[-RECENT:]
    loss = series(lines, "critic/adversarial", "critics/adversarial")[-RECENT:]
    if swings(told, 0.55, 0.9) >= 4:
        what = f"the critic's accuracy swung between {min(told):.0%} and {max(told):.0%}"
    elif len(loss) == RECENT and min(loss) > 0 and swings(loss, median(loss) / 2, median(loss) * 2) >= 4:
        what = f"the critic's loss swung between {min(loss):.2g} and {max(loss):.2g}"
    else:
        return None
    return (
        f"The game oscillates: {what} in the last {RECENT} marks, so the two win in turn and neither settles."
        " Try a penalty on the critic (-o penalty=1), lower rates for both, or a larger batch."
    )


def samples_collapse(lines: Sequence[Line]) -> str | None:
    """Samples lie much closer together than real examples do, also on a second look."""
    recent = series(lines, "samples/spread")[-2:]
    if len(lines) < LATE or len(recent) < 2 or max(recent) > 0.3:
        return None
    return (
        f"Modes have collapsed: samples are {recent[-1]:.0%} as far apart as real examples."
        " Try a penalty on the critic, a lower rate, a larger batch, or a model with a likelihood (vae, flow_matching)."
    )


def class_collapses(lines: Sequence[Line]) -> str | None:
    """Samples of some class lie much closer together than its real examples, while those of all classes do not."""
    recent, whole = series(lines, "samples/class_spread")[-2:], series(lines, "samples/spread")[-2:]
    if len(lines) < LATE or len(recent) < 2 or max(recent) > 0.3 or max(whole) <= 0.3:
        return None
    number = series(lines, "samples/narrowest_class")[-1]
    return (
        f"A class has collapsed: samples of class {number:.0f} (counted from 0) are {recent[-1]:.0%} as far apart as"
        " its real examples. Try a penalty on the critic, a smaller weight of the classification, or a larger latent."
    )


def nothing_improves(lines: Sequence[Line]) -> str | None:
    """Samples are as far from the data in the second half of the looks as in the first, and far."""
    looks = series(lines, "samples/distance")
    half = len(looks) // 2
    if len(lines) < LATE or half < LOOKS // 2:
        return None
    before, after = min(looks[:half]), min(looks[half:])
    if after < 0.5 or come_nearer(looks):
        return None
    told = accuracies(lines)[-PATIENCE:]
    critic = f", and the critic tells real from fake in {mean(told):.0%} of cases" if told else ""
    return (
        f"The game does not converge: samples are {after:.2g} of the data's variance away from the data, no nearer than"
        f" the {before:.2g} of the first half{critic}. Try a lower rate for both, a penalty on the critic, or another"
        " objective."
    )


def samples_drift(lines: Sequence[Line]) -> str | None:
    """Samples were near the data and have left them again, for three looks."""
    looks = series(lines, "samples/distance")
    if len(lines) < LATE or len(looks) < LOOKS:
        return None
    best, now = min(looks), min(looks[-3:])
    if now < 5 * best or now < best + 0.1:
        return None
    return (
        f"The game drifts away: samples are {now:.2g} of the data's variance away from the data and were {best:.2g}"
        " before. Try a penalty on the critic (-o penalty=1), lower rates for both, or a shorter training."
    )


def posterior_collapses(lines: Sequence[Line]) -> str | None:
    """No latent unit carries information about the data."""
    active = series(lines, "model/active_units")
    if len(active) < 5 * PATIENCE or max(active[-PATIENCE:]) >= 0.5:  # codes may begin to speak late
        return None
    return (
        f"The posterior has collapsed: {active[-1]:.1f} latent units differ from the prior, so the code says nothing of"
        " the data. Try a weaker decoder, fewer latent units, or a warm-up of the divergence."
    )


DETECTORS: tuple[Detector, ...] = (
    critic_wins,
    critic_loses,
    generator_gradient_vanishes,
    players_oscillate,
    samples_collapse,
    class_collapses,
    nothing_improves,
    samples_drift,
    posterior_collapses,
)


def lowest(lines: Sequence[Line], name: str) -> tuple[float, bool] | None:
    """The round of a term's smallest value, and whether it still falls: the last quarter lies 2 % below all before.

    None where there are too few values to tell.
    """
    points = [(line[name], line["round"]) for line in lines if name in line]
    if len(points) < LOOKS:
        return None
    early = -(-3 * len(points) // 4)
    before, after = min(points[:early]), min(points[early:])
    return min(before, after)[1], after[0] < before[0] - 0.02 * abs(before[0])


def when_to_stop(lines: Sequence[Line]) -> str | None:
    """Whether a longer training of a game is likely to help, by three figures: the critic's accuracy, the distance of
    samples to data, and a convergence measure where the game has one (BEGAN's). None for other models and short runs.
    """
    distance = lowest(lines, "samples/distance")
    told = accuracies(lines)
    if distance is None or not told:
        return None
    accuracy = mean(told[-max(1, len(told) // 10) :])
    measures = {
        "the samples' distance to the data": distance,
        "the convergence measure": lowest(lines, "critic/convergence") or lowest(lines, "generator/convergence"),
    }
    parts = [f"critic accuracy {accuracy:.2f} over the last tenth (0.5: it cannot tell)"]
    for name, found in measures.items():
        if found:
            parts.append(f"{name} still falls" if found[1] else f"{name} has not fallen since round {found[0]:.0f}")
    if any(found[1] for found in measures.values() if found):
        advice = "train longer"
    elif accuracy > 0.9:
        advice = "longer training is unlikely to help, though the critic can still tell: try other options"
    else:
        advice = "longer training is unlikely to help"
    text = f"{'; '.join(parts)}: {advice}."
    return text[0].upper() + text[1:]


class Diagnosis(Hook):
    """Runs the detectors at every mark; each warns once, through `warn`. At the end, `tell` gets when to stop.

    journal: lines of marks before a resume, of all stages.
    """

    def __init__(
        self,
        warn: Callable[[str], None],
        tell: Callable[[str], None] | None = None,
        *,
        journal: Sequence[dict[str, Any]] = (),
        detectors: Sequence[Detector] = DETECTORS,
    ):
        self.warn, self.tell, self.detectors = warn, tell, detectors
        self.said: set[str] = set()
        stage = journal[-1]["stage"] if journal else ""
        self.stage_name = stage
        self.lines: list[Line] = [line for line in journal if line["stage"] == stage]

    def mark(self, trainer: Trainer, line: Line) -> None:
        place = trainer.place
        if trainer.stages[place.stage].name != self.stage_name:
            self.stage_name, self.lines = trainer.stages[place.stage].name, []
        self.lines.append({"round": float(place.total)} | line)
        for detector in self.detectors:
            message = detector(self.lines)
            if message is not None and detector.__name__ not in self.said:
                self.said.add(detector.__name__)
                self.warn(message)

    def stage(self, trainer: Trainer) -> None:
        finished = trainer.place.stage == len(trainer.stages)
        if finished and isinstance(trainer.model, GenerativeModel):
            found = trainer.model.findings(trainer.validation)
            for message in found.messages if found is not None else ():
                self.warn(message)
        if finished and self.tell is not None and (text := when_to_stop(self.lines)) is not None:
            self.tell(text)
