"""Quality reached in a fixed time on one thread: the median of several seeds, beside the figure to reach.

    python benchmarks/quality.py digits                 # 60 s a model, seeds 0 1 2, about 20 minutes with --jobs 2
    python benchmarks/quality.py mnist5k --seconds 600  # 10 minutes a model

Writes benchmarks/results/quality-NAME.json and .md. Each model trains in a process of its own with one thread; two
such processes side by side do not slow each other on two cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

#: Frechet distance to the test split over the train-to-test floor that each model must reach.
TARGETS = {
    "digits": {
        "flow_matching": 3.0,
        "gan": 4.0,
        "dcgan": 4.0,
        "pixelcnn": 6.0,
        "ddpm": 6.0,
        "vae": 7.0,
        "vae:prior=mixture": 2.5,
        "realnvp": 7.0,
        "rbm": 4.0,
        "gmm": None,
        "kde": None,
    },
    "mnist5k": {"flow_matching": 5.0, "dcgan": 9.0, "vae": 25.0},
}


def measure(source: str, name: str, seconds: float, seed: int) -> dict[str, object]:
    """Train and evaluate one model in this process."""
    import exnihilo as xn
    from exnihilo.evaluation.lineup import parse_entry

    data = xn.load_data(source)
    entry = parse_entry(name, data.spec)
    model = xn.create(entry.path, data, seed=seed, **entry.options)
    out = os.environ.get("EXNIHILO_KEEP")
    folder = Path(out) / f"{name.replace(':', '-')}-{seed}" if out else None
    run = xn.train(model, data, seconds=seconds, seed=seed, threads=1, out=folder, fresh=True, progress=False)
    start = time.perf_counter()
    result = xn.evaluate(run.model, data, seed=seed)
    figures = {key: value.value for key, value in result.values.items()}
    return {
        "name": name,
        "seed": seed,
        "rounds": run.record["rounds"],
        "seconds": run.record["seconds"],
        "evaluation_seconds": time.perf_counter() - start,
        "parameters": run.record["parameters"],
        "warnings": run.record["warnings"],
        "figures": figures,
    }


def in_process(source: str, name: str, seconds: float, seed: int) -> dict[str, object]:
    """The same in a child process with one thread."""
    command = [sys.executable, __file__, source, "--one", name, "--seconds", str(seconds), "--seeds", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"name": name, "seed": seed, "error": done.stderr.strip().splitlines()[-1], "figures": {}}
    row = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name} seed {seed}: {row['figures']}", file=sys.stderr, flush=True)
    return row


def table(rows: list[dict], targets: dict[str, float | None]) -> str:
    """Medians over the seeds, one model a line."""
    shown = ("ratio", "distance_ratio", "confident", "precision", "recall", "samples_per_second")
    lines = ["| model | target | " + " | ".join(shown) + " | all ratios | rounds |", "|---" * (len(shown) + 4) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        cells = []
        for key in shown:
            values = [row["figures"][key] for row in own if row["figures"].get(key) is not None]
            cells.append(f"{statistics.median(values):.3g}" if values else "")
        every = ", ".join(f"{row['figures'].get('ratio', float('nan')):.2f}" for row in own)
        target = targets.get(name)
        lines.append(
            f"| {name} | {f'<= {target}' if target else ''} | {' | '.join(cells)} | {every} | {own[0].get('rounds')} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=sorted(TARGETS))
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--one")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", default="")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.source, chosen.one, chosen.seconds, chosen.seeds[0])))
        return
    names = chosen.names or list(TARGETS[chosen.source])
    work = [(chosen.source, name, chosen.seconds, seed) for name in names for seed in chosen.seeds]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        rows = list(pool.map(lambda job: in_process(*job), work))
    import torch

    head = {
        "command": "python " + " ".join(["benchmarks/quality.py", *sys.argv[1:]]),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread a model",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / (chosen.out or f"quality-{chosen.source}")
    stem.with_suffix(".json").write_text(json.dumps(head | {"rows": rows}, indent=1) + "\n")
    text = table(rows, TARGETS[chosen.source])
    about = "\n".join(f"- {key}: {value}" for key, value in head.items())
    stem.with_suffix(".md").write_text(
        f"# Quality on {chosen.source}, {chosen.seconds:g} s a model\n\n{about}\n\n"
        "Medians over the seeds. ratio: Frechet distance of samples to the test split over that of the"
        " training split (1 = as good as real data). distance_ratio: median distance to the nearest training example"
        f" over that of test examples (well below 1 = copying).\n\n{text}\n"
    )
    print(text)


if __name__ == "__main__":
    main()
