"""The samplers by name, as `solver=` asks for them, each with the grid of times that suits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from exnihilo.probability.flow_ode import Adaptive
from exnihilo.probability.grids import Spacing
from exnihilo.probability.multistep import PLMS, DPMSolver, UniPC
from exnihilo.probability.solvers import DDIM, Ancestral, Euler, Heun, Sampler
from exnihilo.probability.stochastic import (
    AnnealedLangevin,
    Churned,
    EulerMaruyama,
    Jumps,
    PredictorCorrector,
)
from exnihilo.probability.variances import large, learned

SolverName = Literal[
    "auto", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "ddim", "ancestral", "ancestral_large", "ancestral_learned",
    "ancestral_analytic", "plms", "heun", "euler", "churn", "euler_maruyama", "pc", "langevin", "ode", "jumps",
]  # fmt: skip
SpacingName = Literal["auto", "time", "quadratic", "log_snr", "karras"]


class Solver(NamedTuple):
    """How a sampler is made from eta, and its grid."""

    make: Callable[[float], Sampler]
    spacing: Spacing = "time"
    stochastic: bool = True


SOLVERS: dict[str, Solver] = {
    "dpmpp_2m": Solver(lambda eta: DPMSolver(), "log_snr", False),
    "dpmpp_2m_sde": Solver(lambda eta: DPMSolver(stochastic=True), "log_snr"),
    "unipc": Solver(lambda eta: UniPC(), "log_snr", False),
    "ddim": Solver(DDIM, stochastic=False),
    "ancestral": Solver(lambda eta: Ancestral()),
    "ancestral_large": Solver(lambda eta: Ancestral(large)),
    "ancestral_learned": Solver(lambda eta: Ancestral(learned)),
    "ancestral_analytic": Solver(lambda eta: Ancestral(), "log_snr"),  # `Diffusion.sampler` knows its variance
    "plms": Solver(lambda eta: PLMS(), stochastic=False),
    "heun": Solver(lambda eta: Heun(), stochastic=False),
    "euler": Solver(lambda eta: Euler(), stochastic=False),
    "churn": Solver(lambda eta: Churned(), "karras"),
    "euler_maruyama": Solver(lambda eta: EulerMaruyama()),
    "pc": Solver(lambda eta: PredictorCorrector()),
    "langevin": Solver(lambda eta: AnnealedLangevin(), "log_snr"),
    "ode": Solver(lambda eta: Adaptive(), stochastic=False),
    "jumps": Solver(lambda eta: Jumps(), "karras"),
}
