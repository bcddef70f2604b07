from __future__ import annotations

import subprocess
import sys

import torch

from exnihilo.core import seeded
from exnihilo.evaluation.statistics import FeatureStatistics, Gaussian, Reservoir, collect


def features(n: int = 500, d: int = 5) -> torch.Tensor:
    with seeded("features"):
        return torch.randn(n, d, dtype=torch.float64) * torch.arange(1, d + 1) + 100


def test_ragged_chunks_merged_by_three_workers_equal_one_shot() -> None:
    x = features()
    chunks = x.split([3, 100, 7, 190, 50, 149, 1])
    workers = [collect_gaussian(chunks[:2]), collect_gaussian(chunks[2:5]), collect_gaussian(chunks[5:])]
    merged = workers[2].merge(workers[0]).merge(workers[1])
    whole = Gaussian.of(x)
    assert merged.n == 500
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(merged.covariance, torch.cov(x.T), rtol=1e-12, atol=1e-12)


def collect_gaussian(parts: tuple[torch.Tensor, ...]) -> Gaussian:
    total = Gaussian.of(parts[0])
    for part in parts[1:]:
        total = total.merge(Gaussian.of(part))
    return total


def test_moments_far_from_zero_keep_their_digits() -> None:
    x = features() + 1e7
    halves = Gaussian.of(x[:250]).merge(Gaussian.of(x[250:]))
    torch.testing.assert_close(halves.covariance, torch.cov(features().T), rtol=1e-6, atol=1e-6)


def test_the_reservoir_does_not_depend_on_batches_order_or_workers() -> None:
    x = features(300)
    whole = Reservoir.of(x, range(300), keep=40)
    parts = [Reservoir.of(x[a:b], range(a, b), keep=40) for a, b in ((200, 300), (0, 13), (13, 200))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert torch.equal(whole.index, merged.index)
    assert torch.equal(whole.rows, x[merged.index])
    assert len(whole.rows) == 40


def test_the_reservoir_is_a_fair_sample() -> None:
    chosen = torch.cat([Reservoir.of(torch.zeros(1000, 1), range(1000), 100, seed).index for seed in range(50)])
    tenths = torch.bincount(chosen // 100, minlength=10).double()
    assert ((tenths - 500).square() / 500).sum() < 27.9  # chi-squared, 9 degrees, p = 0.001


def test_statistics_count_every_example_and_keep_some() -> None:
    statistics = collect([features(70), features(30)], keep=20)
    assert (statistics.n, len(statistics.rows)) == (100, 20)
    assert isinstance(statistics, FeatureStatistics)


def test_many_samples_need_little_memory() -> None:
    program = """
import resource, torch
from exnihilo.evaluation.statistics import collect
collect(torch.randn(4096, 64) for _ in range(3))
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert collect(torch.randn(4096, 64) for _ in range(60)).n == 60 * 4096
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(answer.stdout) < 60  # megabytes; the features alone are 63 in float32
