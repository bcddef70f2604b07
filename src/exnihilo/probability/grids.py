"""Time grids: at which times samplers evaluate the denoiser, from the noise at 1 down to the data at 0."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from exnihilo.probability.paths import Path

Spacing = Literal["time", "quadratic", "log_snr", "karras"]


def time_grid(steps: int, levels: int | None = None, start: float = 1.0) -> list[float]:
    """steps + 1 times from `start` down to 0 in equal steps, or rounded to those i / levels at which a network was
    trained.

    Visits the start and ends at the data; more steps than levels below it are as many as these.
    """
    if levels is None:
        return [start * (1 - i / steps) for i in range(steps)] + [0.0]
    top = max(round(start * levels), 1)
    steps = min(steps, top)
    return [round(top * (steps - i) / steps) / levels for i in range(steps)] + [0.0]


def spaced_grid(
    path: Path, steps: int, spacing: Spacing = "time", levels: int | None = None, start: float = 1.0
) -> list[float]:
    """steps + 1 falling times: `steps` of them at noise levels from t = start to near `path.least`, and then the data.

    time: equal steps of t. quadratic: of the root of t (Song et al., 2021, arXiv:2010.02502, appendix D.2). log_snr:
    of log(alpha / sigma) (Lu et al., 2022, arXiv:2206.00927, Section 3.4), for high-order solvers. karras: of
    (sigma / alpha)^(1/7) (Karras et al., 2022, arXiv:2206.00364, Eq. 5). levels: rounded to i / levels, each once.
    """
    if spacing == "time":
        return time_grid(steps, levels, start)
    if start <= path.least:
        return [start, 0.0]
    even = torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1, dtype=torch.float64)
    if spacing == "quadratic":
        times = (start**0.5 - even * (start**0.5 - path.least**0.5)).square()
    else:
        first, last = (
            float(path.half_log_snr(torch.tensor(t, dtype=torch.float64)).detach()) for t in (start, path.least)
        )
        first = max(first, -FARTHEST)  # of paths without any signal at t = 1
        times = path.time_of(_between(first, last, even, spacing))
        times[0] = start
    grid = times.tolist()
    if levels is not None:
        grid = sorted({max(round(t * levels), 1) / levels for t in grid}, reverse=True)
    return [*grid, 0.0]


#: -log(alpha / sigma) where a path that ends without signal is taken to end, when spaced by it.
FARTHEST = 5.1
#: rho of Karras et al.: larger puts more steps near the data.
RHO = 7


def _between(first: float, last: float, even: Tensor, spacing: Spacing) -> Tensor:
    """Half log SNR from first to last, equally spaced themselves or by their noise level's root."""
    if spacing == "log_snr":
        return first + (last - first) * even
    start, end = (torch.tensor(-edge, dtype=torch.float64).exp() ** (1 / RHO) for edge in (first, last))
    return -RHO * (start + (end - start) * even).log()
