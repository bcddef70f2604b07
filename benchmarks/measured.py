"""How figures are taken and kept: models in processes of their own, medians over seeds, one JSON and one table.

A script lists its parts and ends with `measured.main(...)`. A part that is run again replaces the rows of the models
that were measured and leaves the others, so parts, models and seeds can be run one by one. Seconds are seconds of the
processor: with one thread those of an idle machine's clock, as long as no more processes run than there are cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import operator
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from speed import processor

import exnihilo as xn
from exnihilo.core import GenerativeModel
from exnihilo.evaluation.lineup import parse_entry
from exnihilo.training import trainer

RESULTS = Path(__file__).parent / "results"
RELATIONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}

Row = dict[str, Any]
Figures = dict[str, Any]  # numbers; a string is shown below the table, a key "NAME: figure" is a row of NAME


@dataclass(frozen=True)
class Job:
    """A model on a source. longer: how many times the part's seconds it gets. reach: `figure <= number`."""

    name: str
    source: str = ""
    longer: float = 1.0
    reach: str = ""


@dataclass(frozen=True)
class Part:
    """Models on sources, and what is measured of each.

    order: groups of models from the worst to the best by the first figure, of which less is better, on every source.
    """

    about: str
    jobs: Callable[[], Sequence[Job]]
    measure: Callable[[str, str, float, int], Figures]  # of a name, a source, seconds and a seed
    seconds: float = 60.0
    order: tuple[tuple[str, ...], ...] = ()


def trained(name: str, data: Any, seconds: float, seed: int, out: Path | None = None) -> GenerativeModel:
    """A model after its training time, kept in `out` where given; a name may carry options, as in `exnihilo compare`.

    What a finished run of the same recipe, data, seed and seconds has left in `out` is taken as it is.
    """
    entry = parse_entry(name, data.spec)
    model = xn.create(entry.path, data, seed=seed, **entry.options)
    with mock.patch.object(trainer, "time", SimpleNamespace(perf_counter=time.process_time)):
        run = xn.train(model, data, seconds=seconds, seed=seed, out=out, threads=1, progress=False)
    for text in run.warnings:
        print(f"{name}: {text}", file=sys.stderr)
    return run.model


def shared_data(folder: str) -> Path:
    """A folder of $EXNIHILO_DATA."""
    return Path(os.environ.get("EXNIHILO_DATA", "data")) / folder


# -- taking figures --------------------------------------------------------------------------------------------------


def in_process(script: str, part: str, job: Job, seconds: float, seed: int) -> list[Row]:
    """A job in a child process with one thread; its failure is a row that says so."""
    start = time.perf_counter()
    one = json.dumps([part, job.name, job.source, seconds * job.longer, seed])
    command = [sys.executable, script, "--one", one]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    row: Row = {"name": job.name, "source": job.source, "seed": seed, "seconds": seconds * job.longer, "figures": {}}
    where = f"{' on '.join(filter(None, (job.name, job.source)))}, seed {seed}"
    if job.longer != 1:
        row["longer"] = job.longer
    if done.returncode:
        row["error"] = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"  {where}: {row['error']}", file=sys.stderr, flush=True)
        return [row]
    row["took"] = time.perf_counter() - start
    plain, others = dict(row), dict[str, Row]()  # what rows below this one share with it
    for full, value in json.loads(done.stdout.strip().splitlines()[-1]).items():
        name, colon, figure = full.rpartition(": ")
        target = others.setdefault(name, plain | {"name": name, "figures": {}}) if colon else row
        if isinstance(value, str):
            target.setdefault("texts", {})[figure] = value
        else:
            target["figures"][figure] = value
    if job.reach:
        row["reach"] = job.reach
    told = ", ".join(f"{key} {value:.4g}" for key, value in row["figures"].items())
    print(f"  {where}, {row['took']:.0f} s: {told}", file=sys.stderr, flush=True)
    return [one for one in (row, *others.values()) if one["figures"]]


def run_part(
    script: str, name: str, part: Part, chosen: argparse.Namespace, before: Mapping[str, Any]
) -> Iterator[Figures]:
    """All models of a part, or those chosen, over the seeds, joined to what was measured before: after every job."""
    start = time.perf_counter()
    seconds = part.seconds if chosen.seconds is None else chosen.seconds
    work = [
        (script, name, job, seconds, seed)
        for job in part.jobs()
        if (not chosen.names or job.name in chosen.names) and (not chosen.sources or job.source in chosen.sources)
        for seed in chosen.seeds
    ]
    runs, rows, order = list(before.get("runs", [])), list(before.get("rows", [])), [job.name for job in part.jobs()]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for found in pool.map(lambda one: in_process(*one), work):
            rows += [row | {"run": len(runs)} for row in found]
            run = {
                "command": "python " + " ".join([f"benchmarks/{Path(script).name}", *sys.argv[1:]]),
                "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread a model, {chosen.jobs} side by side",
                "load": f"{os.getloadavg()[0]:.1f} at the end",
                "torch": torch.__version__,
                "date": datetime.date.today().isoformat(),
                "took": f"{time.perf_counter() - start:.0f} s",
            }
            yield joined([*runs, run], rows, order)


def joined(runs: list[Row], rows: list[Row], order: Sequence[str]) -> Figures:
    """The latest row of every model, source, seed and length, and the runs of which any row is left."""
    latest = {(row["source"], row["name"], row.get("longer", 1), row["seed"]): row for row in rows}
    places = {name: place for place, name in enumerate(order)}
    kept = sorted(latest.values(), key=lambda row: places.get(row["name"], -1))
    used = sorted({row["run"] for row in kept})
    return {"runs": [runs[run] for run in used], "rows": [row | {"run": used.index(row["run"])} for row in kept]}


# -- the table -------------------------------------------------------------------------------------------------------


def medians(rows: Sequence[Row]) -> dict[str, float]:
    """Of every figure, over the seeds."""
    keys = dict.fromkeys(key for row in rows for key in row["figures"])
    return {key: statistics.median(row["figures"][key] for row in rows if key in row["figures"]) for key in keys}


def by_model(rows: Sequence[Row]) -> dict[tuple[str, str, float], list[Row]]:
    """The seeds of every source, model and training time."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for source in dict.fromkeys(row["source"] for row in rows):
        for row in rows:
            if row["source"] == source:
                groups.setdefault((source, row["name"], row["seconds"]), []).append(row)
    return groups


def verdict(rows: Sequence[Row]) -> str:
    """Whether the median reached what it had to, or what went wrong."""
    errors = [row["error"] for row in rows if "error" in row]
    reach = next((row["reach"] for row in rows if "reach" in row), "")
    if errors or not reach:
        return "; ".join(dict.fromkeys(errors))
    figure, relation, limit = reach.rsplit(" ", 2)
    met = RELATIONS[relation](medians(rows)[figure], float(limit))
    return f"{reach}: {'reached' if met else 'NOT reached'}"


def table(rows: Sequence[Row]) -> str:
    """A line for each source, name and training time: medians over the seeds, and the first figure of every seed."""
    shown = list(dict.fromkeys(key for row in rows for key in row["figures"]))
    several = bool(shown) and len({row["seed"] for row in rows}) > 1
    heads = ["data", "model", "seconds", *shown, *([f"{shown[0]} by seed"] if several else []), ""]
    text = ["| " + " | ".join(heads) + " |", "|---|---|--:" + "|--:" * (len(heads) - 4) + "|---|"]
    for (source, name, seconds), own in by_model(rows).items():
        middle = medians(own)
        cells = [source, name, f"{seconds:g}", *(f"{middle[key]:.4g}" if key in middle else "" for key in shown)]
        if several:
            cells.append(", ".join(f"{row['figures'].get(shown[0], float('nan')):.4g}" for row in own))
        text.append("| " + " | ".join([*cells, verdict(own)]) + " |")
    return "\n".join(text)


def orders(part: Part, rows: Sequence[Row]) -> list[str]:
    """Whether the models come in the expected order, source by source."""
    said = []
    for source in dict.fromkeys(row["source"] for row in rows) if part.order else ():
        found = {
            name: next(iter(medians(own).values()))
            for (where, name, _), own in by_model(rows).items()
            if where == source and any(row["figures"] for row in own)
        }
        if not all(name in found for group in part.order for name in group):
            continue
        pairs = zip(part.order, part.order[1:], strict=False)
        holds = all(found[worse] > found[better] for first, then in pairs for worse in first for better in then)
        wanted = " > ".join(", ".join(group) for group in part.order)
        said.append(f"- {source}: {wanted} {'holds' if holds else 'does NOT hold'}")
    return said


def report(title: str, parts: Mapping[str, Part], results: Mapping[str, Any]) -> str:
    """All parts that have figures, each under what it measures and how it was run."""
    text = [f"# {title}", ""]
    for name, result in results.items():
        text += [f"## {name}", "", parts[name].about, ""]
        for number, run in enumerate(result["runs"]):
            models = dict.fromkeys(row["name"] for row in result["rows"] if row["run"] == number)
            which = [] if len(result["runs"]) == 1 else [f"models: {', '.join(models)}"]
            text.append("- " + "; ".join([*(f"{key}: {value}" for key, value in run.items()), *which]))
        text += ["", table(result["rows"]), ""]
        if claims := orders(parts[name], result["rows"]):
            text += ["From the worst to the best:", "", *claims, ""]
        for row in result["rows"]:
            for key, value in row.get("texts", {}).items():
                text += [f"{row['name']} on {row['source']}, seed {row['seed']}, {key}:", "", "```", value, "```", ""]
    return "\n".join(text)


# -- the command -----------------------------------------------------------------------------------------------------


def main(script: str, about: str | None, title: str, parts: Mapping[str, Part]) -> None:
    """Measure the chosen parts; the script calls itself with --one in each child process."""
    stem = Path(script).stem
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), metavar="PART", help=", ".join(parts))
    parser.add_argument("--names", nargs="*", default=[], help="these models alone")
    parser.add_argument("--sources", nargs="*", default=[], help="on these data alone")
    parser.add_argument(
        "--seconds", type=float, help="of training a model; each part has its own where it is not given"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--out", default=stem)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        name, *rest = json.loads(chosen.one)
        print(json.dumps(parts[name].measure(*rest)))
        return
    RESULTS.mkdir(exist_ok=True)
    kept, shown = (RESULTS / f"{chosen.out}{suffix}" for suffix in (".json", ".md"))
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in chosen.only:
        print(name, file=sys.stderr, flush=True)
        for result in run_part(script, name, parts[name], chosen, results.get(name, {})):
            results[name] = result
            ordered = {part: results[part] for part in parts if part in results}
            kept.write_text(json.dumps(ordered, indent=1) + "\n")
            shown.write_text(report(title, parts, ordered))
        if name in results:
            print(table(results[name]["rows"]), flush=True)
