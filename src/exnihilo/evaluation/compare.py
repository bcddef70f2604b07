"""`compare`: several models trained under one budget, judged by one protocol, in one report."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from exnihilo.core import Data, ExnihiloError, RunError, create
from exnihilo.evaluation.baselines import Histogram, UniformLevels, UniformNoise, real_data
from exnihilo.evaluation.denoising import DenoisingPath
from exnihilo.evaluation.evaluate import Result, digest, evaluate
from exnihilo.evaluation.lineup import Entry, line_up
from exnihilo.evaluation.ngrams import NGram, runs_of
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.report import Report, Row
from exnihilo.training import Budget, Run, train
from exnihilo.training.folder import dump, write_atomic
from exnihilo.training.hardware import pick_device, use_threads

ORDERS = (1, 3, 5)  # of the rows beside models of text

#: Told once a step: what is being done.
Say = Callable[[str], None]


def say_on_stderr(text: str) -> None:
    """The default: one line on standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Comparison:
    """What all rows share: data, reference, budget, folder."""

    data: Data
    reference: Reference
    out: Path
    seed: int
    budget: dict[str, Any]  # seconds or steps
    training: dict[str, Any]  # further keywords of `train`
    threads: int | None
    say: Say
    rows: list[Row] = field(default_factory=list)

    def add_references(self) -> None:
        """Real data, noise, and independent histograms or, of texts, models of orders 1 to 5: judged, not trained."""
        self.rows.append(Row("real data", "floor", real_data(self.reference)))
        spec, train = self.data.spec, self.reference.train
        uniform = UniformLevels(spec) if spec.kind == "text" else UniformNoise(spec, train)
        noise = evaluate(uniform, self.data, reference=self.reference)
        self.rows.append(Row("noise", "ceiling", noise))
        if spec.kind == "text":
            runs = runs_of(self.data.split("train"))
            for order in ORDERS:
                result = evaluate(NGram(spec, runs, order), self.data, reference=self.reference)
                self.rows.append(Row(f"{order}-gram", "baseline", result))
        elif spec.discrete:
            histogram = evaluate(Histogram(spec, train), self.data, reference=self.reference)
            self.rows.append(Row("histogram", "baseline", histogram))

    def add(self, entry: Entry) -> None:
        """Train (or find finished) and judge one model; whatever goes wrong stands in its row and stops nothing.

        Raises KeyboardInterrupt if the user stopped the training, RunError if its folder holds another run.
        """
        row = Row(entry.name, "baseline" if entry.baseline else "model", deep=entry.deep, family=entry.recipe.family)
        folder = self.out / "runs" / entry.folder
        try:
            model = create(entry.path, self.data, seed=self.seed, **entry.given)
            run = train(model, self.data, seed=self.seed, out=folder, **self.budget, **self.training)
            if run.status == "stopped":
                raise KeyboardInterrupt
            row.seconds, row.rounds = float(run.record["seconds"]), sum(run.record["rounds"])
            row.journal, row.warnings, row.path = run.journal, list(run.record.get("warnings", [])), folder
            row.result = self.judge(entry.name, run, folder)
        except RunError:
            raise
        except Exception as error:
            row.error = str(error) if isinstance(error, ExnihiloError) else f"{type(error).__name__}: {error}"
            log = folder.with_suffix(".error.txt")
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc())
            self.say(f"{entry.name} failed: {row.error} ({log})")
        self.rows.append(row)

    def judge(self, name: str, run: Run, folder: Path) -> Result:
        """The figures of a finished run, from `evaluation/` in its folder if they were taken by the same protocol."""
        threads = self.threads or torch.get_num_threads()
        key = digest(
            {"name": name, "weights": run.record["weights"], "protocol": self.reference.protocol, "threads": threads}
        )
        stored, pictures = folder / "evaluation" / "result.json", folder / "evaluation" / "pictures.safetensors"
        if stored.exists() and pictures.exists():
            record = json.loads(stored.read_text())
            if record.get("key") == key:
                result = Result.from_json(record["result"])
                tensors = load_file(pictures)
                result.samples, result.neighbours = tensors.get("samples"), tensors.get("neighbours")
                result.way = DenoisingPath.of(tensors)
                return result
        result = evaluate(run.model, self.data, seed=self.seed, reference=self.reference)
        result.name = name
        stored.parent.mkdir(exist_ok=True)
        shown = {"samples": result.samples, "neighbours": result.neighbours}
        shown |= result.way.tensors() if result.way is not None else {}
        write_atomic(pictures, dump({name: tensor for name, tensor in shown.items() if tensor is not None}))
        write_atomic(stored, json.dumps({"key": key, "result": result.to_json()}, indent=1).encode())
        return result


def compare(
    names: Sequence[str] | None,
    data: Data,
    *,
    seconds: float = 60.0,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path,
    n: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    fresh: bool = False,
    say: Say = say_on_stderr,
) -> Report:
    """Train several models one after another under an equal budget and write a report that compares them.

    names: recipes, also with options (`vae:latent=2`), or FILE.py:NAME; None for a line-up of deep and classical
    models that suits the data. Each gets `seconds` (or `steps`) of training; judging comes on top. Real data, noise
    and classical baselines stand in every table. `out` receives report.html, report.json, pictures and runs/NAME; the
    same call again reuses what is finished. A model that crashes is told in its row. Ctrl-C writes the report of what
    is done and raises KeyboardInterrupt. Raises ModelError, OptionError, DataError before anything is trained.
    """
    budget: dict[str, Any] = {"steps": steps} if steps is not None else {"seconds": seconds}
    Budget(**budget)
    pick_device(device)
    entries = line_up(names, data.spec)
    reference = Reference.of(data, n=n, seed=seed)
    folder = Path(out)
    if folder.is_file():
        raise RunError(f"{folder} is a file. Name a folder for the report.")
    folder.mkdir(parents=True, exist_ok=True)
    training = {"device": device, "threads": threads, "fresh": fresh, "progress": sys.stderr.isatty()}
    comparison = Comparison(data, reference, folder, seed, budget, training, threads, say)
    stopped = False
    with use_threads(threads) if threads else nullcontext():
        comparison.add_references()
        for place, entry in enumerate(entries, start=1):
            say(f"[{place}/{len(entries)}] {entry.name}")
            try:
                comparison.add(entry)
            except KeyboardInterrupt:
                stopped = True
                say("Stopped; writing the report of what is done. The same command goes on.")
                break
    report = Report(comparison.rows, reference, budget, command(names, data, budget, seed, folder), stopped)
    report.write(folder)
    if stopped:
        raise KeyboardInterrupt
    return report


def command(names: Sequence[str] | None, data: Data, budget: dict[str, Any], seed: int, out: Path) -> str:
    """The shell command that makes this comparison, or as much of one as there is for data from memory."""
    source = getattr(data, "source", "") or "SOURCE"
    words = ["exnihilo", "compare", *(names or []), "--data", source]
    for key, value in getattr(data, "options", {}).items():
        if value is not None and value != "":
            words += ["-d", f"{key}={value}"]
    words += [f"--{key} {value:g}" for key, value in budget.items()] + [f"--seed {seed}", f"--out {out}"]
    return " ".join(words)
