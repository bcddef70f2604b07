"""Randomness is passed, and belongs to the sample: `Noise` for sampling, `seeded` for everything in training.

Sample 7 of seed 0 owns a stream of random bits that no batch size, chunk or process can change. The stream is
SplitMix64 (Steele, Lea & Flood, 2014): bits k of sample i are `mix(key_i + (k + 1) * GOLDEN)` - a pure function of
(seed, i, k), so a whole batch is drawn by a few elementwise integer operations on any device.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # 2^64 / golden ratio, as a signed 64-bit integer
MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's own copies the sign bit."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * MIX_1
    bits = (bits ^ _shift(bits, 27)) * MIX_2
    return bits ^ _shift(bits, 31)


def hash_key(*parts: object) -> int:
    """A signed 64-bit integer from anything printable; equal on every machine and process."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Noise:
    """One random stream per sample. `Noise(0, range(64))` is the noise of samples 0 to 63 of seed 0.

    Every draw advances all streams by the number of values taken per sample, so two models that ask for the same
    shapes in the same order receive the same noise.
    """

    def __init__(
        self,
        seed: int | None = None,
        samples: int | Sequence[int] = 1,
        *,
        device: torch.device | str = "cpu",
    ):
        self.seed = secrets.randbits(63) if seed is None else int(seed)
        index = torch.as_tensor(range(samples) if isinstance(samples, int) else list(samples), dtype=torch.int64)
        self.keys = _mix(_mix(index * GOLDEN + hash_key("noise", self.seed)) + GOLDEN).to(device)  # [B]
        self.position = 0

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, part: slice | Tensor) -> Noise:
        """The streams of some of the samples, from where they stand now."""
        chosen = object.__new__(Noise)
        chosen.seed, chosen.keys, chosen.position = self.seed, self.keys[part], self.position
        return chosen

    @property
    def device(self) -> torch.device:
        return self.keys.device

    def bits(self, *shape: int) -> Tensor:
        """[B, *shape] random 64-bit integers."""
        count = math.prod(shape)
        steps = torch.arange(self.position + 1, self.position + count + 1, device=self.device) * GOLDEN
        self.position += count
        return _mix(self.keys[:, None] + steps).view(len(self), *shape)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """[B, *shape], uniform on [0, 1); never 1, also after rounding to float32."""
        return ((_shift(self.bits(*shape), 40)).double() * 2.0**-24).to(dtype)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """[B, *shape], standard normal (Box & Muller, 1958), from 32 + 32 bits, so |value| < 6.7."""
        bits = self.bits(*shape)
        precision = torch.float64 if dtype == torch.float64 else torch.float32
        radius = _shift(bits, 32).to(precision).add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = (bits & 0xFFFFFFFF).to(precision).mul_(2.0**-31 * math.pi)
        return radius.mul_(angle.cos_()).to(dtype)

    def like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape of x [B, ...]."""
        return self.normal(*x.shape[1:], dtype=x.dtype)

    def bernoulli(self, probability: Tensor) -> Tensor:
        """Zeros and ones of the shape and type of `probability` [B, ...]."""
        return (self.uniform(*probability.shape[1:]) < probability).to(probability.dtype)

    def categorical(self, logits: Tensor) -> Tensor:
        """[B, ...] indices drawn from unnormalised log-probabilities [B, ..., K] (Gumbel's trick)."""
        uniform = self.uniform(*logits.shape[1:], dtype=torch.float64)
        gumbel = -torch.log(-torch.log(uniform + 2.0**-26))  # the offset keeps 0 out
        return (logits.double() + gumbel).argmax(dim=-1)


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Inside, torch's generators run from `key` alone; afterwards they are as before.

    With it a loss may use `torch.randn_like` or dropout and is still a function of (seed, round, player, step):
    nothing random has to be saved, and the caller's random state is untouched. Not for worker threads: torch's
    generators are global to the process.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(hash_key(*key))
        for _ in devices:
            torch.cuda.manual_seed(hash_key(*key))
        yield
