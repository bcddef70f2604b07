"""The probability-flow ODE of a denoiser by general solvers, and the density that follows from its divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import Noise
from exnihilo.probability.continuous import dopri5, rk4
from exnihilo.probability.distributions import normal_log_prob
from exnihilo.probability.grids import FARTHEST
from exnihilo.probability.jacobians import WHOLE, fixed_signs, jacobian, pullback
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import DDIM, Denoise, Memoryless, flow
from exnihilo.probability.transitions import curves

CLOSE = 1e-9  # two times that are the same up to rounding


@dataclass(frozen=True)
class Adaptive(Memoryless):
    """The ODE from t to s by torchdiffeq's Dormand-Prince 5(4), relative and absolute tolerance 1e-5.

    Song et al., 2021, arXiv:2011.13456, Section 4.3. One step of the grid may take many evaluations; the step to the
    data is DDIM's. Not for tables of levels, whose slopes jump. Caution: step sizes are chosen for the whole batch, so
    a sample depends, within the tolerance, on those beside it.
    """

    def step(self, denoise: Denoise, path: Path, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        end = max(s, path.least)
        if t - end > CLOSE:
            field = flow(denoise, path)
            x = dopri5(lambda time, state: (field(_within(path, time), state[0]),), (x,), t, end)[0]
        return DDIM().step(denoise, path, x, end, 0.0, noise) if s == 0 else x


def flow_log_prob(
    denoise: Denoise, path: Path, x: Tensor, *, steps: int | None = None, probes: int = 0, seed: int = 0
) -> Tensor:
    """[B] log p(x) = log N(x_1; 0, sigma(1)^2) + int div(dx/dt) dt along the ODE from the data to the noise, in nats.

    Song et al., 2021, arXiv:2011.13456, Eq. 39. probes: random signs v, by which the divergence is v^T J v (Hutchinson,
    the same v all along the way), 0: all of J's diagonal, for at most 128 entries. steps: of Kutta's method, each equal
    in log SNR, or None for adaptive ones. The path begins at `path.least`, whose noise is part of the density: x is
    taken to be there already. Caution: without steps enough the estimate may be above the truth.
    """
    field = flow(denoise, path)
    slopes = _with_divergence(lambda t, z: field(_within(path, t), z), x, probes, seed)
    state = (x, x.new_zeros(len(x)))
    if steps is None:
        end, change = dopri5(slopes, state, path.least, 1.0)
    else:
        times = [path.least, *_inner_times(path, steps), 1.0]
        for t, s in zip(times[:-1], times[1:], strict=True):
            state = rk4(slopes, state, t, s, 1)  # type: ignore[assignment]
        end, change = state
    spread = 2 * math.log(curves(path, 1.0)[1])
    return normal_log_prob(end, 0.0, spread).flatten(1).sum(dim=1) + change


def _inner_times(path: Path, steps: int) -> list[float]:
    """Times between the ends, equal in log SNR, rising; of paths without signal at t = 1 the last step is longer."""
    edges = path.half_log_snr(torch.tensor([path.least, 1.0], dtype=torch.float64)).clamp(min=-FARTHEST)
    between = torch.linspace(float(edges[0]), float(edges[1]), steps + 1, dtype=torch.float64)[1:-1]
    times: list[float] = path.time_of(between).tolist()
    return times


def _within(path: Path, t: float | Tensor) -> float:
    """The time, on the path: adaptive solvers look beyond the end and come back."""
    time = float(t.detach()) if isinstance(t, Tensor) else t
    return min(max(time, path.least), 1.0)


def _with_divergence(
    field: Callable[[float | Tensor, Tensor], Tensor], x: Tensor, probes: int, seed: int
) -> Callable[[float | Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """Slopes of (x, log-density's change)."""
    if probes == 0 and x[0].numel() > WHOLE:
        raise ValueError(f"{x[0].numel()} entries: take probes, all of the diagonal is for at most {WHOLE}")
    signs = [fixed_signs(x, seed + probe) for probe in range(probes)]

    def slopes(t: float | Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        def at_t(z: Tensor) -> Tensor:
            return field(t, z)

        if not signs:
            whole = jacobian(at_t, state[0])
            return at_t(state[0]), whole.diagonal(dim1=1, dim2=2).sum(dim=1)
        slope, pull = pullback(at_t, state[0])
        divergence = torch.stack([(pull(sign) * sign).flatten(1).sum(dim=1) for sign in signs]).mean(dim=0)
        return slope, divergence

    return slopes
