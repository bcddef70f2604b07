from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from scipy import stats

from exnihilo.core import Noise, seeded
from exnihilo.core.noise import GOLDEN, _mix, hash_key


def test_the_mixer_is_splitmix64() -> None:
    """The first three outputs of the reference generator (Steele, Lea & Flood, 2014) from state 0."""
    outputs = _mix(torch.arange(1, 4) * GOLDEN)
    unsigned = [int(value) % (1 << 64) for value in outputs]
    assert unsigned == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_the_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    whole = Noise(3, 10)
    alone = Noise(3, [7])
    assert torch.equal(whole.normal(2, 5)[7:8], alone.normal(2, 5))
    assert torch.equal(whole.uniform(4)[7:8], alone.uniform(4))


def test_a_part_goes_on_from_where_the_whole_stands() -> None:
    whole = Noise(0, 6)
    whole.normal(3)
    part = whole[2:4]
    assert torch.equal(part.normal(3), whole.normal(3)[2:4])


def test_draws_follow_each_other_and_differ() -> None:
    noise = Noise(0, 2)
    first, second = noise.bits(4), noise.bits(4)
    assert len(torch.cat([first, second], dim=1).unique()) == 16
    assert torch.equal(Noise(0, 2).bits(8), torch.cat([first, second], dim=1))


def test_seeds_differ_and_no_seed_is_a_new_one() -> None:
    assert not torch.equal(Noise(0, 4).normal(4), Noise(1, 4).normal(4))
    assert Noise(None, 1).seed != Noise(None, 1).seed


def test_normals_are_normal_and_uncorrelated_between_neighbouring_samples() -> None:
    values = Noise(0, 2000).normal(10, dtype=torch.float64)
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(torch.stack([values[:-1].flatten(), values[1:].flatten()]))[0, 1]
    assert abs(float(correlation)) < 4 / math.sqrt(values.numel())


def test_uniforms_are_uniform_and_below_one() -> None:
    values = Noise(0, 2000).uniform(10)
    assert values.dtype == torch.float32
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > 1e-3


def test_categories_and_coins_come_in_their_shares() -> None:
    noise, n = Noise(0, 20_000), 20_000
    shares = torch.tensor([0.5, 0.3, 0.2, 0.0])
    counts = noise.categorical(shares.log().expand(n, -1)).bincount(minlength=4) / n
    assert counts[3] == 0
    assert torch.allclose(counts, shares, atol=4 * math.sqrt(0.25 / n))
    assert abs(float(noise.bernoulli(torch.full((n, 1), 0.3)).mean()) - 0.3) < 4 * math.sqrt(0.21 / n)


def test_noise_like_a_tensor_has_its_shape_and_type() -> None:
    x = torch.zeros(3, 2, 4, dtype=torch.float64)
    assert Noise(0, 3).like(x).shape == x.shape
    assert Noise(0, 3).like(x).dtype == x.dtype


def test_keys_are_equal_in_every_process() -> None:
    code = "from exnihilo.core.noise import hash_key; print(hash_key('train', 0, 'critic'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == hash_key("train", 0, "critic") != hash_key("train", 1, "critic")


def test_a_seeded_scope_depends_on_its_key_alone_and_gives_the_state_back() -> None:
    torch.rand(3)
    before = torch.get_rng_state()
    with seeded("round", 4):
        first = torch.rand(5)
        with seeded("inner"):
            torch.rand(100)
        rest = torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded("round", 4):
        assert torch.equal(torch.rand(10), torch.cat([first, rest]))
    with seeded("round", 5):
        assert not torch.equal(torch.rand(5), first)


def test_a_seeded_scope_gives_the_state_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="size"), seeded(0):
        torch.rand(2) + torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
