"""What watches a training without taking part in it: progress, journal, pictures, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from exnihilo.core import ExnihiloError, GenerativeModel
from exnihilo.data.render import picture, save_picture
from exnihilo.training.budget import mark_every

if TYPE_CHECKING:
    from exnihilo.training.trainer import Trainer


class Hook:
    """Told of every round, every mark (with the terms since the last), every finished stage, and every warning."""

    def round(self, trainer: Trainer) -> None:
        """After each round; must not wait for the device."""

    def terms(self, trainer: Trainer) -> dict[str, float]:
        """What it adds to the line of a mark: a function of the training's place and state alone."""
        return {}

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        """After each mark, before its state counts as good."""

    def stage(self, trainer: Trainer) -> None:
        """After each stage."""

    def say(self, text: str) -> None:
        """A warning to pass on."""


class Journal(Hook):
    """One JSON line per mark; a resume cuts back what lies after its state."""

    def __init__(self, path: Path | None, total: int = 0):
        self.path = path
        self.lines: list[dict[str, object]] = []
        if path is not None and path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            self.lines = [line for line in lines if line["round"] <= total]
            path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        place = trainer.place
        entry = {"round": place.total, "stage": trainer.stages[place.stage].name, "seconds": round(place.seconds, 3)}
        self.lines.append(entry | line)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(entry | line) + "\n")


class Progress(Hook):
    """One line on the terminal that is rewritten, or one every ten seconds where the output is no terminal."""

    def __init__(self, name: str, out: TextIO | None = None):
        self.name, self.out = name, out or sys.stderr
        self.shown = self.began = time.monotonic()
        self.figures = ""
        self.open_line = False

    def round(self, trainer: Trainer) -> None:
        terminal = self.out.isatty()
        now = time.monotonic()
        if now - self.shown < (0.2 if terminal else 10):
            return
        self.shown = now
        place = trainer.place
        done = trainer.budget.progress(place)
        rate = place.round / max(place.stage_seconds, 1e-9)
        rounds = place.rounds[place.stage]
        left = (rounds - place.round) / rate if rounds else place.stage_seconds * (1 / max(done, 1e-3) - 1)
        stage = f" {trainer.stages[place.stage].name}" if len(trainer.stages) > 1 else ""
        text = f"{self.name}{stage} {done:4.0%}  round {place.round}{f'/{rounds}' if rounds else ''}"
        self._show(f"{text}  {rate:.1f}/s  {clock(left)} left  {self.figures}", terminal)

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        shown = {name: value for name, value in line.items() if not name.endswith("/gradient")}
        self.figures = "  ".join(f"{name} {value:.4g}" for name, value in list(shown.items())[-4:])

    def stage(self, trainer: Trainer) -> None:
        if self.open_line:
            print(file=self.out)
            self.open_line = False

    def say(self, text: str) -> None:
        self._show(f"{self.name}: {text}", False)

    def _show(self, text: str, over: bool) -> None:
        if self.open_line:
            print("\r\033[K" if over else "", end="" if over else "\n", file=self.out)
        print(text, end="" if over else "\n", file=self.out, flush=True)
        self.open_line = over


class Pictures(Hook):
    """Samples of the averaged weights at a few moments of the run, always of the same noise."""

    MOMENTS = (0.05, 0.2, 0.5, 1.0)
    SHOWN = 64

    def __init__(self, folder: Path):
        self.folder = folder
        self.slow = False

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        place, model = trainer.place, trainer.model
        rounds = place.rounds[place.stage] or 0
        if self.slow and place.round < rounds:
            return
        if not isinstance(model, GenerativeModel) or "sample" not in model.capabilities:
            return
        before = max(place.round - mark_every(rounds), 0) / max(rounds, 1)
        if not any(before < moment <= place.round / max(rounds, 1) for moment in self.MOMENTS):
            return
        start = time.perf_counter()
        with trainer.averaged():
            samples = model.sample(self.SHOWN, seed=0)
        # A model whose samples cost more than a tenth of the training so far draws but the first and the last.
        self.slow = time.perf_counter() - start > 0.1 * max(place.seconds, 1.0)
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {"recipe": model.recipe, "options": json.dumps(model.options), "seed": "0", "round": str(place.total)}
        save_picture(picture(model.spec, samples), self.folder / f"{place.total:08d}.png", facts)


class TensorBoard(Hook):
    """Terms as TensorBoard events, where its extra is installed."""

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ExnihiloError("TensorBoard is not installed: pip install 'exnihilo[tensorboard]'.") from error
        self.writer = SummaryWriter(folder)  # type: ignore[no-untyped-call]

    def mark(self, trainer: Trainer, line: dict[str, float]) -> None:
        for name, value in line.items():
            self.writer.add_scalar(name, value, trainer.place.total)  # type: ignore[no-untyped-call]

    def stage(self, trainer: Trainer) -> None:
        self.writer.flush()  # type: ignore[no-untyped-call]


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
