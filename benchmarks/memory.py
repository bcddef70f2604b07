"""Peak memory of judging a million samples of 64 features, over that of the idle process. Linux only.

    python benchmarks/memory.py                  # about a minute
    python benchmarks/memory.py --samples 100000

Idle: everything imported, the model and 10,000 real examples held, and 100 samples judged, so that the network that
makes the features is there. Then the kernel's high-water mark is reset, the whole of `evaluate` runs - drawing,
features, distances, precision and recall, nearest neighbours - and the mark is read again. Writes
benchmarks/results/memory.json and .md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from exnihilo.core import DataSpec, GenerativeModel, Noise
from exnihilo.data import load_data
from exnihilo.evaluation.evaluate import evaluate

RESULTS = Path(__file__).parent / "results"
FEATURES = 64
ALLOWED = 300.0  # MB over idle


def status(field: str) -> float:
    """A line of /proc/self/status in MB (10^6 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


class Correlated(GenerativeModel):
    """Gaussian samples with the data's own covariance but for a shift: nothing to learn, nothing to hold."""

    def __init__(self, mixing: Tensor, spec: DataSpec):
        super().__init__()
        self.register_buffer("mixing", mixing)
        self.spec, self.recipe, self.options = spec, "correlated", {}

    def draw(
        self,
        noise: Noise,
        *,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        text: Tensor | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return noise.normal(FEATURES) @ self.mixing + 0.1


def measure(samples: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator) / 8
    data = load_data((torch.randn(10_000, FEATURES, generator=generator) @ mixing).numpy())
    model = Correlated(mixing, data.spec)
    evaluate(model, data, n=100)  # the features' own network is trained and kept
    idle = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls back to the present
    start = time.perf_counter()
    result = evaluate(model, data, n=samples)
    return {
        "samples": samples,
        "idle_mb": idle,
        "peak_mb": status("VmHWM"),
        "over_idle_mb": status("VmHWM") - idle,
        "allowed_mb": ALLOWED,
        "seconds": time.perf_counter() - start,
        "frechet": result["frechet"].value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(chosen.samples)
    head = {
        "command": "python " + " ".join(["benchmarks/memory.py", *sys.argv[1:]]),
        "machine": f"{os.uname().sysname} {os.uname().machine}, {os.cpu_count()} cores, 1 thread",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(head | figures, indent=1) + "\n")
    about = "\n".join(f"- {key}: {value}" for key, value in head.items())
    text = (
        f"# Memory of an evaluation\n\n{about}\n\n"
        f"Evaluating {chosen.samples:,} samples of {FEATURES} features took {figures['seconds']:.0f} s and at its peak"
        f" {figures['over_idle_mb']:.0f} MB over the idle process's {figures['idle_mb']:.0f} MB"
        f" (allowed: {ALLOWED:.0f} MB).\n"
    )
    (RESULTS / "memory.md").write_text(text)
    print(text)
    sys.exit(figures["over_idle_mb"] > ALLOWED)


if __name__ == "__main__":
    main()
