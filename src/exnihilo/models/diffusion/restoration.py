"""What a denoiser does with a given example without any training for it: restore what is unknown, change what is there.

All are one walk down the path: from how much noise it begins, and in what the walk has to agree with the example.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Noise, OptionError
from exnihilo.core.registry import check_options, signature_options
from exnihilo.probability.projections import Agreement, agreeing, walk, with_jumps
from exnihilo.probability.solvers import solve
from exnihilo.probability.transitions import curves

if TYPE_CHECKING:
    from exnihilo.models.diffusion.family import Diffusion

#: Options of `draw` that say which way is walked; the others say how the denoiser is guided.
WALK = ("steps", "solver", "spacing", "eta")
#: Steps that are gone back at once.
JUMP = 10


def time_of_strength(model: Diffusion, strength: float) -> float:
    """The time at which noise makes up this share of the picture: sigma / (alpha + sigma) = strength; 1 = the prior.

    So a strength means the same on every path; on the straight one it is the time itself.
    """
    if not 0 < strength <= 1:
        raise OptionError(
            f"strength={strength:g} is not allowed. It takes a number above 0 and at most 1; default 0.5."
        )
    if strength == 1:
        return 1.0
    wanted = torch.tensor(math.log((1 - strength) / strength), dtype=torch.float64)
    return max(float(model.path.time_of(wanted)), model.path.least)


def redraw(
    model: Diffusion,
    x: Tensor,
    noise: Noise,
    asked: Conditions = NOTHING,
    *,
    agree: Agreement | None = None,
    strength: float = 1.0,
    repeats: int = 1,
    **sampling: Any,
) -> Tensor:
    """[B, *shape] x noised as far as `strength` says and brought back by a sampler, agreeing with x at every step.

    SDEdit (Meng et al., 2022, arXiv:2108.01073, Algorithm 1) where nothing has to agree; with strength 1 and known
    entries inpainting, by RePaint's Algorithm 1 (Lugmayr et al., 2022, arXiv:2201.09865) where repeats > 1: every 10
    steps are gone back and done again; with a known coarse part ILVR (Choi et al., 2021, arXiv:2108.02938). sampling:
    the options of `draw`. Caution: what is drawn follows nearly, not exactly, the law given what is known; repeats
    bring it nearer, and need a sampler that adds noise.
    """
    model.require("impute")
    if repeats < 1:
        raise OptionError(f"repeats={repeats} is not allowed. It takes a whole number from 1; default 5.")
    options = check_options(signature_options(type(model).draw), sampling, model.recipe)
    sampler = model.sampler(options["solver"], options["eta"])
    start = time_of_strength(model, strength)
    times = model.grid(options["steps"], options["solver"], options["spacing"], start)
    denoise = model.denoiser(asked, **{name: value for name, value in options.items() if name not in WALK})
    state = model.prior(noise)
    if strength < 1:
        alpha, sigma = curves(model.path, times[0])
        state = alpha * x + sigma / curves(model.path, 1.0)[1] * state
    if agree is None:
        return solve(sampler, denoise, model.path, state, times, noise)
    after = agreeing(model.path, x, agree, noise)
    return walk(sampler, denoise, model.path, state, with_jumps(times, JUMP, repeats), noise, after)
