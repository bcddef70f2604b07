"""Maps that follow a differential equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from exnihilo.core import ExnihiloError
from exnihilo.probability.bijections import Bijection
from exnihilo.probability.jacobians import WHOLE, fixed_signs, jacobian, pullback, signs

Solver = Literal["rk4", "dopri5"]
#: The slopes of a state of several tensors at a time.
Slopes = Callable[[float | Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]
TOLERANCE = 1e-5  # of the adaptive solver, absolute and relative


def rk4(slopes: Slopes, state: tuple[Tensor, ...], start: float, end: float, steps: int) -> tuple[Tensor, ...]:
    """The state at `end` by Kutta's method of order 4 in equal steps; every example on its own."""
    size = (end - start) / steps

    def moved(by: float, slope: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(z + by * k for z, k in zip(state, slope, strict=True))

    for i in range(steps):
        t = start + i * size
        k1 = slopes(t, state)
        k2 = slopes(t + size / 2, moved(size / 2, k1))
        k3 = slopes(t + size / 2, moved(size / 2, k2))
        k4 = slopes(t + size, moved(size, k3))
        state = tuple(
            z + size / 6 * (a + 2 * b + 2 * c + d) for z, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True)
        )
    return state


def dopri5(slopes: Slopes, state: tuple[Tensor, ...], start: float, end: float) -> tuple[Tensor, ...]:
    """The state at `end` by Dormand and Prince's method, whose steps adapt to the hardest example of the batch."""
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise ExnihiloError(
            "The solver dopri5 is in torchdiffeq: pip install 'exnihilo[ode]'; solver=rk4 needs nothing."
        ) from error
    times = torch.tensor([start, end]).to(state[0])
    path = odeint(slopes, state, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
    return tuple(part[-1] for part in path)


class Continuous(Bijection):
    """u = x + int_0^1 f(z(t), t) dt from z(0) = x,   log|det du/dx| = int_0^1 tr(df/dz) dt.

    Chen et al., 2018, arXiv:1806.07366, Eq. 8; Grathwohl et al., 2019, arXiv:1810.01367. In training the trace is
    v^T (df/dz) v with random signs v, the same all along the way (Eq. 7); in evaluation it is exact for up to
    WHOLE = 128 entries, and beyond it uses signs that are always the same, so that the density is an estimate. `rk4`
    takes `steps` equal steps; `dopri5` (torchdiffeq) as many as a tolerance of 1e-5 asks for. Caution: with few steps
    the inverse and the density are those of the equation only up to the solver's error, of order steps^-4.
    """

    compilable = False

    def __init__(self, field: nn.Module, *, steps: int = 8, solver: Solver = "rk4"):
        """field: dz/dt, a function of z [B, ...] and a time that all examples share."""
        super().__init__()
        self.field, self.steps, self.solver = field, steps, solver

    def integrate(self, slopes: Slopes, state: tuple[Tensor, ...], start: float, end: float) -> tuple[Tensor, ...]:
        """The state at `end`, with all that the field computes in the precision of the state."""
        with torch.autocast(state[0].device.type, enabled=False):  # half precision would round the density
            if self.solver == "dopri5":
                return dopri5(slopes, state, start, end)
            return rk4(slopes, state, start, end, self.steps)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = x.contiguous()  # forward derivatives write, which an expanded tensor does not take
        trace = self._trace(x)
        z, log_det = self.integrate(lambda t, state: trace(state[0], t), (x, x.new_zeros(len(x))), 0.0, 1.0)
        return z, log_det

    def _trace(self, x: Tensor) -> Callable[[Tensor, float | Tensor], tuple[Tensor, Tensor]]:
        """(z, t) -> (f(z, t), its divergence [B])."""
        if not self.training and x[0].numel() <= WHOLE:

            def exact(z: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
                whole = jacobian(lambda z: self.field(z, t), z)
                return self.field(z, t), whole.diagonal(dim1=1, dim2=2).sum(dim=1)

            return exact
        probe = signs(x) if self.training else fixed_signs(x, 0)

        def estimated(z: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
            slope, pull = pullback(lambda z: self.field(z, t), z)
            return slope, (pull(probe) * probe).flatten(1).sum(dim=1)

        return estimated

    def inverse(self, u: Tensor, vector: Tensor | None = None) -> Tensor:
        return self.integrate(lambda t, state: (self.field(state[0], t),), (u,), 1.0, 0.0)[0]
