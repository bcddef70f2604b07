"""`train`: a model, data and a budget become a run - resumed if it was stopped, reported if it is finished."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from exnihilo.core import Data, DataSpec, GenerativeModel, RunError, TrainingError, create, find_recipe
from exnihilo.training.budget import Budget
from exnihilo.training.card import model_card
from exnihilo.training.diagnosis import Diagnosis
from exnihilo.training.folder import FORMAT, RunFolder, digest, dump
from exnihilo.training.hardware import Hardware, Precision, choose_threads, estimate_bytes, turn_seconds, use_threads
from exnihilo.training.hooks import Hook, Journal, Pictures, Progress, TensorBoard, clock
from exnihilo.training.likeness import Looks
from exnihilo.training.state import load_tensors, shared_tensors
from exnihilo.training.trainer import Trainer

SAVE_SECONDS = 60.0  # between states


@dataclass
class Run:
    """What a training left: the model with its kept weights, the record, the journal and, if any, the folder."""

    model: GenerativeModel
    record: dict[str, Any]
    journal: list[dict[str, Any]]
    folder: Path | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`finished`, or `stopped` (the same call goes on)."""
        return str(self.record["status"])


class Saver(Hook):
    """Writes a state once a minute; between, nothing of a long run is ever more than a minute old."""

    def __init__(self, folder: RunFolder, record: dict[str, Any]):
        self.folder, self.record = folder, record
        self.last = time.monotonic()

    def round(self, trainer: Trainer) -> None:
        measured = None not in trainer.place.rounds[: trainer.place.stage + 1]
        if measured and time.monotonic() - self.last >= float(os.environ.get("EXNIHILO_SAVE_SECONDS", SAVE_SECONDS)):
            self.save(trainer)

    def stage(self, trainer: Trainer) -> None:
        if trainer.place.stage < len(trainer.stages):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """The present moment and the last good one."""
        now = trainer.capture()
        self.record["seconds"] = now.place.seconds
        self.folder.save_state(self.record, now, trainer.good or now)
        self.last = time.monotonic()


def train(
    model: GenerativeModel,
    data: Data,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    fresh: bool = False,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    accumulate: int = 1,
    batch: int | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    hooks: tuple[Hook, ...] = (),
) -> Run:
    """Train a model for a number of `steps` (updates) or `seconds`; afterwards it holds its kept weights, in eval mode.

    out: a run folder. If it holds the same recipe, options, data, seed and budget, the run goes on where it stopped,
    or is reported if it is finished; anything else is refused, naming the difference - `fresh` starts anew. Ctrl-C
    saves and returns a run whose status is `stopped`. threads: None measures on a processor whether one is faster
    than all. Equal arguments give equal weights on a processor, byte for byte, also over kills and resumes (`seconds`:
    once the number of rounds is fixed). Raises OptionError, RunError, TrainingError.
    """
    budget = Budget(steps, seconds)
    if batch is not None:
        model.batch = batch
    hardware = Hardware(device, precision, compile and model.compilable)
    record = describe(model, data, budget, seed, hardware, accumulate)
    folder = RunFolder(out) if out is not None else None
    previous = _previous(folder, record, fresh)
    if folder and previous and previous["status"] == "finished":
        load_tensors(model, folder.weights(previous), shared_tensors(model), str(folder.path / "weights.safetensors"))
        return Run(model.eval(), previous, Journal(folder.path / "journal.jsonl", sys.maxsize).lines, folder.path)
    record = previous or record
    record["threads"] = threads or record.get("threads") or choose_threads(model, data.split("train"), hardware.device)
    warnings: list[str] = record.setdefault("warnings", [])
    watchers = _hooks(model, folder, record, progress, tensorboard, lambda: warnings) + list(hooks)
    trainer = Trainer(model, data, budget, seed=seed, hardware=hardware, accumulate=accumulate, hooks=watchers)
    with use_threads(int(record["threads"])):
        return _carry_out(trainer, folder, record)


def _carry_out(trainer: Trainer, folder: RunFolder | None, record: dict[str, Any]) -> Run:
    """Resume or begin, train, and write what the run has come to."""
    model = trainer.model
    assert isinstance(model, GenerativeModel)
    if folder and (good := folder.state(record, "good")) and (now := folder.state(record)):
        trainer.restore(now)
        trainer.good = good
    elif folder:
        folder.write_record(record | {"status": "running"})
    journal = next(hook for hook in trainer.hooks if isinstance(hook, Journal))
    saver = next((hook for hook in trainer.hooks if isinstance(hook, Saver)), None)
    _announce(trainer, resumed=trainer.place.total)
    record["status"] = "running"
    try:
        finished = trainer.run()
    except TrainingError:
        if saver:
            record["status"] = "stopped"
            saver.save(trainer)
        raise
    if not finished:
        record["status"] = "stopped"
        if saver:
            saver.save(trainer)
        load_tensors(model, trainer.kept(), shared_tensors(model), "the run")
        return Run(model.eval(), record, journal.lines, folder.path if folder else None, record["warnings"])
    place = trainer.place
    record |= {"status": "finished", "seconds": place.seconds, "rounds": place.rounds, "state": None}
    record["kept"] = {"round": place.best_round, "validation": place.best} if place.best is not None else None
    if folder:
        record["weights"] = folder.save_weights(shared_tensors(model))
        (folder.path / "README.md").write_text(model_card(record, journal.lines))
        folder.write_record(record)
        shutil.rmtree(folder.path / "state", ignore_errors=True)
    return Run(model.eval(), record, journal.lines, folder.path if folder else None, record["warnings"])


def describe(
    model: GenerativeModel, data: Data, budget: Budget, seed: int, hardware: Hardware, accumulate: int
) -> dict[str, Any]:
    """The record of a run that is about to begin."""
    return {
        "format": FORMAT,
        "status": "new",
        "recipe": model.recipe,
        "options": model.options,
        "data": {name: getattr(data, name, None) for name in ("source", "options", "fingerprint")},
        "spec": model.spec.to_json(),
        "seed": seed,
        "budget": {"steps": budget.steps} if budget.steps is not None else {"seconds": budget.seconds},
        "batch": model.batch,
        "accumulate": accumulate,
        "precision": hardware.precision,
        "start": digest(dump({name: tensor.cpu() for name, tensor in shared_tensors(model).items()})),
        "device": str(hardware.device),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "versions": {"exnihilo": _version(), "torch": torch.__version__, "python": platform.python_version()},
        "state": None,
        "weights": None,
    }


SAME = ("recipe", "options", "data", "seed", "budget", "batch", "accumulate", "precision", "start")


def _previous(folder: RunFolder | None, record: dict[str, Any], fresh: bool) -> dict[str, Any] | None:
    """The record of the same run begun before, if there is one; another run in the folder is refused."""
    if folder is None:
        return None
    folder.refuse_foreign()
    if not folder.exists():
        return None
    if fresh:
        folder.clear()
        return None
    previous = folder.record()
    for name in SAME:
        if previous.get(name) != record[name]:
            what = "starting weights (another creation seed?)" if name == "start" else name
            there, here = _difference(previous.get(name), record[name])
            raise RunError(
                f"{folder.path} holds another run: its {what} is {there}, not {here}."
                " Name another folder with --out, or start anew with --fresh."
            )
    return previous


def _difference(there: Any, here: Any) -> tuple[str, str]:
    """The parts in which two recorded values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        return tuple(", ".join(f"{key}={side.get(key)}" for key in keys) for side in (there, here))  # type: ignore[return-value]
    return str(there), str(here)


def _hooks(
    model: GenerativeModel,
    folder: RunFolder | None,
    record: dict[str, Any],
    progress: bool,
    tensorboard: bool,
    warnings: Callable[[], list[str]],
) -> list[Hook]:
    """The watchers of a run, in the order in which they are told."""
    state = record.get("state")
    total = _total(state["now"]["place"]) if state else 0
    journal = Journal(folder.path / "journal.jsonl" if folder else None, total)
    watchers: list[Hook] = [Looks(), journal]
    if progress:
        watchers.append(Progress(model.recipe))

    def warn(text: str) -> None:
        if text not in warnings():
            warnings().append(text)
            for watcher in watchers:
                watcher.say(text)

    def tell(text: str) -> None:
        record["advice"] = text
        for watcher in watchers:
            watcher.say(text)

    watchers.append(Diagnosis(warn, tell, journal=journal.lines))
    if folder:
        watchers.append(Pictures(folder.path / "samples"))
        if tensorboard:
            watchers.append(TensorBoard(folder.path / "tensorboard"))
        watchers.append(Saver(folder, record))
    return watchers


def _total(place: dict[str, Any]) -> int:
    return sum(rounds or 0 for rounds in place["rounds"][: place["stage"]]) + int(place["round"])


def _announce(trainer: Trainer, resumed: int) -> None:
    """Size, memory and time, before the first round."""
    watcher = next((hook for hook in trainer.hooks if isinstance(hook, Progress)), None)
    if watcher is None:
        return
    if resumed:
        return watcher.say(f"going on from round {resumed}")
    if not any(list(stage.players()) for stage in trainer.stages):
        return watcher.say("solved without steps")
    train, steps = trainer.data.split("train"), trainer.budget.steps
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    memory = estimate_bytes(trainer.model, train) / 1e6
    if steps is None:
        length = f"{trainer.budget.seconds:g} seconds"
    else:
        seconds = steps * turn_seconds(trainer.model, train, torch.get_num_threads())
        length = f"{steps} steps, about {clock(max(seconds, 1))} min"
    watcher.say(f"{weights:,} parameters, about {memory:.0f} MB to train, {length}")


def save_model(model: GenerativeModel, out: str | Path, *, source: str, card: str) -> dict[str, Any]:
    """A model that was not trained here, such as one read from another library's files, as a finished run of no rounds.

    source: where it comes from, in the place of the data; card: the text of README.md. Returns the record. A RunError
    if the folder holds anything.
    """
    folder = RunFolder(out)
    folder.refuse_foreign()
    if folder.exists():
        raise RunError(f"{folder.path} holds a run. Name a new folder: --out DIR.")
    origin: Any = SimpleNamespace(source=source, options={}, fingerprint=None)
    record = describe(model, origin, Budget(steps=1), 0, Hardware("cpu"), 1)
    record |= {"status": "finished", "budget": {"steps": 0}, "rounds": [0], "seconds": 0.0, "kept": None}
    record |= {
        "threads": torch.get_num_threads(),
        "warnings": [],
        "weights": folder.save_weights(shared_tensors(model)),
    }
    (folder.path / "README.md").write_text(card)
    folder.write_record(record)
    return record


def load_model(folder: str | Path) -> GenerativeModel:
    """A trained model: recipe, options and averaged weights from a run folder; needs no data.

    Refuses folders that are altered, truncated or of another format, recipes that are gone and options that the
    recipe no longer takes, by name; never loads half of one.
    """
    run = RunFolder(folder)
    record = run.record()
    weights = run.weights(record)
    recipe = find_recipe(record["recipe"])
    if gone := sorted(set(record["options"]) - set(recipe.options)):
        raise RunError(f"{run.path} was trained with options that {recipe.name} no longer has: {', '.join(gone)}.")
    model = create(record["recipe"], DataSpec.from_json(record["spec"]), **record["options"])
    load_tensors(model, weights, shared_tensors(model), str(run.path / "weights.safetensors"))
    return model.eval()


def _version() -> str:
    from importlib.metadata import version

    return version("exnihilo")
