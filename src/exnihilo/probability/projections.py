"""Samples that must agree with something known: what is done to x between the steps, and walks that go back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Noise
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import After, Denoise, Sampler
from exnihilo.probability.transitions import curves, renoised


def known(path: Path, x: Tensor, mask: Tensor, noise: Noise) -> After:
    """Entries where the mask is True are put back after every step, with the noise of the time reached, drawn anew.

    Song et al., 2021, arXiv:2011.13456, Section 5; Lugmayr et al., 2022, arXiv:2201.09865, Eq. 8. x [B, *shape]: the
    example, whose other entries are not looked at; at s = 0 the known entries are x's own.
    """

    def put_back(state: Tensor, s: float) -> Tensor:
        alpha, sigma = curves(path, s)
        there = x if s == 0 else alpha * x + sigma * noise.like(x)
        return torch.where(mask, there, state)

    return put_back


def low_pass(x: Tensor, factor: int) -> Tensor:
    """Means over squares of `factor` pixels, each in the place of its square: a projection, also at uneven sides."""
    height, width = x.shape[-2:]
    means = F.avg_pool2d(x, factor, ceil_mode=True)  # squares at the edges are what is left of them
    return means.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)[..., :height, :width]


def coarse(path: Path, x: Tensor, factor: int, noise: Noise) -> After:
    """What is coarser than `factor` pixels comes from x: x_s <- x_s + low(x's x_s) - low(x_s).

    Choi et al., 2021, arXiv:2108.02938, Algorithm 1 (ILVR), with x noised to the time reached. At s = 0 the result has
    exactly the means of x over squares. x [B, C, H, W].
    """

    def pull(state: Tensor, s: float) -> Tensor:
        alpha, sigma = curves(path, s)
        there = x if s == 0 else alpha * x + sigma * noise.like(x)
        return state + low_pass(there, factor) - low_pass(state, factor)

    return pull


def walk(
    sampler: Sampler,
    denoise: Denoise,
    path: Path,
    x: Tensor,
    times: Sequence[float],
    noise: Noise,
    after: After,
) -> Tensor:
    """`solve` along times that may also rise: there noise is given back, and what the sampler remembers is void."""
    steps = sampler.begin()
    for t, s in pairwise(times):
        if s > t:
            x, steps = renoised(path, x, t, s, noise), sampler.begin()
        else:
            x = after(steps.step(denoise, path, x, t, s, noise), s)
    return x


def with_jumps(times: Sequence[float], length: int, repeats: int) -> list[float]:
    """A falling grid in which every `length` steps are gone back and done again, `repeats` times in all.

    Lugmayr et al., 2022, arXiv:2201.09865, appendix B: what is unknown and what is known can then agree, which a single
    pass only half achieves. repeats = 1 is the grid itself; the evaluations are about `repeats` times as many.
    """
    walked: list[float] = [times[0]]
    for place in range(1, len(times)):
        walked.append(times[place])
        whole = place % length == 0 and place < len(times) - 1
        for _ in range(repeats - 1 if whole else 0):
            walked.append(times[place - length])
            walked.extend(times[place - length + 1 : place + 1])
    return walked
