"""Samples that must agree with something known: what is done to x between the steps, and walks that go back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from exnihilo.core import Noise
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import After, Denoise, Sampler
from exnihilo.probability.transitions import curves, renoised

#: Of red, green and blue in brightness: Rec. 601, as Pillow makes pictures grey.
LUMA = (0.299, 0.587, 0.114)


#: (state, the example with the same noise) -> the state, agreeing with the example in what is known of it. At s = 0, in
#: the data, the same agreement is kept exactly.
Agreement = Callable[[Tensor, Tensor], Tensor]


def known(mask: Tensor) -> Agreement:
    """Entries where the mask is True are the example's: inpainting, outpainting, gaps of any data."""
    return lambda state, there: torch.where(mask.to(state.device), there, state)


def coarse(factor: int) -> Agreement:
    """What is coarser than `factor` pixels is the example's: x <- x + low(there - x), see `low_pass`. Enlarging.

    Choi et al., 2021, arXiv:2108.02938, Algorithm 1 (ILVR). The low pass there is bicubic; this one is an orthogonal
    projection, so it is `known` in another basis, and the means of the result are exact. Pictures [B, C, H, W].
    """
    return lambda state, there: state + low_pass(there - state, factor)


def grey() -> Agreement:
    """The brightness of every pixel is the example's, its hue is not: colouring. Pictures [B, 3, H, W]."""
    return lambda state, there: state + brightness(there - state)


def low_pass(x: Tensor, factor: int) -> Tensor:
    """Means over squares of `factor` pixels, each in the place of its square: a projection, also at uneven sides."""
    height, width = x.shape[-2:]
    means = F.avg_pool2d(x, factor, ceil_mode=True)  # squares at the edges are what is left of them
    return means.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)[..., :height, :width]


def brightness(x: Tensor) -> Tensor:
    """x [B, 3, H, W] projected on the direction of Rec. 601 luma, (0.299, 0.587, 0.114): two pictures are equal in it
    if and only if they look alike in grey."""
    weights = torch.tensor(LUMA).to(x).view(3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True) * weights / weights.square().sum()


def agreeing(path: Path, x: Tensor, agree: Agreement, noise: Noise) -> After:
    """After every step the state agrees with x, noised anew to the time reached; at s = 0 with x itself.

    Song et al., 2021, arXiv:2011.13456, Section 5; Lugmayr et al., 2022, arXiv:2201.09865, Eq. 8. Noising x to the time
    before the step, as some code does, would put in noise of another level than the rest of the state has.
    """

    def put_back(state: Tensor, s: float) -> Tensor:
        alpha, sigma = curves(path, s)
        return agree(state, x if s == 0 else alpha * x + sigma * noise.like(x))

    return put_back


def walk(
    sampler: Sampler,
    denoise: Denoise,
    path: Path,
    x: Tensor,
    times: Sequence[float],
    noise: Noise,
    after: After,
) -> Tensor:
    """`solve` along times that may also rise: there noise is given back.

    Every step begins without a memory of earlier ones: `after` has moved x to where these did not lead.
    """
    for t, s in pairwise(times):
        if s > t:
            x = renoised(path, x, t, s, noise)
            continue
        x = after(sampler.begin().step(denoise, path, x, t, s, noise), s)
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
