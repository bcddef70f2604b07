"""The family's equation: learn to tell data from noise at every time, then walk from noise to data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from exnihilo.core import (
    NOTHING,
    Batch,
    Conditions,
    Data,
    Findings,
    GenerativeModel,
    Noise,
    OptionError,
    Prediction,
    Stage,
    Terms,
    check_mask,
)
from exnihilo.models.diffusion.checks import noise_findings
from exnihilo.models.diffusion.couplings import Coupling, independent
from exnihilo.models.diffusion.errors import NoiseErrors
from exnihilo.models.diffusion.guidance import classifier_free, clipped, dynamic
from exnihilo.models.diffusion.predictions import TINY, PredictionType
from exnihilo.models.diffusion.restoration import redraw
from exnihilo.models.diffusion.samplers import SOLVERS, SolverName, SpacingName
from exnihilo.models.diffusion.times import Times
from exnihilo.models.diffusion.weightings import Weighting, evenly
from exnihilo.probability.grids import spaced_grid
from exnihilo.probability.paths import Path
from exnihilo.probability.projections import Agreement, known
from exnihilo.probability.solvers import DDIM, Ancestral, Denoise, Heun, Sampler, solve
from exnihilo.probability.transitions import curves

#: Examples that a path may measure.
MEASURED = 1000
#: Steps below which samples are drawn without fresh noise.
FEW = 15
#: Steps by which codes are made and read back.
CODE_STEPS = 100


class Diffusion(GenerativeModel):
    """Minimise E w(t) |network(x_t, t) - target|^2 over data, noise and t, with x_t = alpha(t) data + sigma(t) noise.

    The answer of the network, whatever its `prediction` type, becomes expected data and noise in `denoise`, all that
    guidance, thresholds and samplers see. Ho et al., 2020, arXiv:2006.11239, Eq. 14; Lipman et al., 2023,
    arXiv:2210.02747, Eq. 9. The network is told the path's clock, about [0, 1], so there is no index to be off by one.

    The expected data are kept in a box in which they must lie: the range of the levels, else that of the training data,
    found when the training begins. Codes are the noise to which the probability-flow ODE leads.
    """

    takes = frozenset({"attributes"})
    batch = 48
    solver: SolverName = "dpmpp_2m_sde"  # see `usual_solver`
    levels: int | None = None  # of a path that is trained at t = i / levels only
    low: Tensor
    high: Tensor

    def __init__(
        self,
        network: nn.Module,
        path: Path,
        prediction: PredictionType,
        times: Times,
        *,
        box: tuple[Tensor, Tensor],
        weighting: Weighting = evenly,
        coupling: Coupling = independent,
        unconditional: float = 0.1,
        labelled: bool = False,
    ):
        super().__init__()
        self.network, self.path, self.prediction = network, path, prediction
        self.times, self.weighting, self.coupling = times, weighting, coupling
        self.unconditional = unconditional  # share of examples whose conditions are hidden in training
        self.labelled = labelled
        self.register_buffer("low", box[0])  # [*shape], infinite where it is to be measured
        self.register_buffer("high", box[1])
        self.measured = not bool(box[0].isfinite().all())
        if coupling is not independent:
            self.solver = "dpmpp_2m"  # fresh noise would not be the kind that goes with these data
        self.errors = NoiseErrors()

    # -- training ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.measure)]

    def measure(self, data: Data) -> None:
        """What the path asks of the training data, and the smallest box around them where levels do not tell it."""
        self.path.measure(data.spread(MEASURED).x.to(self.low))
        if self.measured:
            x = data.first().x.to(self.low)
            margin = self.spec.steps(x) / 2  # of the noise that dequantises
            self.low.copy_(x.amin(dim=0) - margin)
            self.high.copy_(x.amax(dim=0) + margin)

    def loss(self, batch: Batch) -> Terms:
        noise = self.coupling(batch.x, torch.randn_like(batch.x), batch.label if self.labelled else None)
        return self.error_between(batch, noise)

    def error_between(self, batch: Batch, noise: Tensor) -> Terms:
        """The weighted error of the network's answers on the paths from the batch's examples to these noises."""
        x, times = batch.x, self.times(len(batch), batch.x.device)
        t = beside(x, times)
        answer = self.answer(self.noisy(x, noise, t), times, *self.hidden(batch))
        error = (answer - self.prediction.target(x, noise, self.path, t)).square()
        self.note(times, error)
        return {"squared_error": (self.weighting(self.path, t, self.prediction) * error).mean()}

    @torch.no_grad()
    def note(self, times: Tensor, error: Tensor) -> None:
        """The squared errors of answers in training at times [B], remembered as those of the noise."""
        if self.network.training:  # the player, where a model has others
            t = beside(error, times)
            alpha, sigma = self.path(t)
            unit = self.prediction.slope(self.path, t) * alpha / sigma.clamp(min=TINY)
            self.errors.record(self.path, times, (unit.square() * error.detach()).flatten(1).mean(dim=1))

    def noisy(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t, from times [B, 1, ...]."""
        alpha, sigma = self.path(t)
        return alpha * x + sigma * noise

    def answer(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        """What the network says of x_t at t [B]: x scaled as its prediction type wants, time by the path's clock."""
        scaled = self.prediction.scale(self.path, beside(x, t)) * x
        answer: Tensor = self.network(scaled, self.path.clock(t), label, attributes)
        return answer

    def hidden(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Label and attributes, unknown for some of the examples: so one network learns with and without them."""
        label, attributes = batch.label if self.labelled else None, batch.attributes
        if label is None and attributes is None:
            return None, None
        hidden = torch.rand(len(batch), device=batch.x.device) < self.unconditional
        return (
            None if label is None else label.masked_fill(hidden, -1),
            None if attributes is None else attributes.masked_fill(hidden[:, None], torch.nan),
        )

    def validate(self, batch: Batch) -> Terms:
        """The loss, which samples follow; a bound weighs imperceptible detail most and has other best weights."""
        return {"loss": self.loss(batch)["squared_error"].detach()}

    # -- the verb ------------------------------------------------------------------------------------------------

    def denoise(
        self, x: Tensor, t: Tensor, *, label: Tensor | None = None, attributes: Tensor | None = None
    ) -> Prediction:
        """The expected data and noise given x [B, *shape] at times t [B]; they add up to x."""
        t = t.to(x)
        return self.prediction.read(self.answer(x, t, label, attributes), x, self.path, beside(x, t))

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density of data with the smallest noise, t = path.least: -noise / sigma."""
        self.require("score")
        t = torch.full((len(x),), self.path.least, dtype=x.dtype, device=x.device)
        return -self.denoise(x, t).noise / self.path(beside(x, t))[1]

    def denoiser(
        self,
        asked: Conditions = NOTHING,
        *,
        guidance: float = 0.0,
        guidance_until: float = 1.0,
        rescale: float = 0.0,
        threshold: Literal["static", "dynamic", "none"] = "static",
    ) -> Denoise:
        """(x, t) -> expected data and noise, with the conditions bound, guided, and kept in the box."""
        if guidance and not (self.labelled or self.spec.attributes):
            raise OptionError(
                f"guidance={guidance:g} needs a model of labelled data; {self.recipe} was trained without labels. Leave"
                " guidance out, or train on data with labels (`exnihilo data SOURCE` shows them)."
            )
        denoise = classifier_free(
            self.denoise, guidance, asked.label, asked.attributes, until=guidance_until, rescale=rescale
        )
        return self.within(denoise, threshold)

    def within(self, denoise: Denoise, threshold: Literal["static", "dynamic", "none"]) -> Denoise:
        """The denoiser with its expected data kept in the box."""
        if threshold == "none":
            return denoise
        return (dynamic if threshold == "dynamic" else clipped)(denoise, self.path, self.low, self.high)

    def usual_solver(self, steps: int) -> SolverName:
        """What samples are drawn by unless another solver is asked for: with fresh noise where there are steps enough.

        Noise mends what the network got wrong before, which the flow carries along to the end; but in few steps it is
        itself what is got wrong (measured on digits, ddpm and flow_matching: it is better from 10 to 20 steps on).
        """
        return "dpmpp_2m" if self.solver == "dpmpp_2m_sde" and steps < FEW else self.solver

    def sampler(self, solver: SolverName = "auto", eta: float = 0.0, steps: int = FEW) -> Sampler:
        """The sampler of that name, if this model has what it needs."""
        name = self.usual_solver(steps) if solver == "auto" else solver
        if name == "ode" and self.levels is not None:
            raise OptionError(
                f"solver=ode needs a path without levels; {self.recipe} has {self.levels}. Use solver=dpmpp_2m."
            )
        if name == "langevin" and curves(self.path, 1.0)[0] != 1:
            raise OptionError("solver=langevin needs a path on which the data stay, as ncsn's. Use solver=pc.")
        if name == "ancestral_analytic":
            return Ancestral(self.errors.variance(float(((self.high - self.low) / 2).square().mean())))
        return SOLVERS[name].make(eta)

    def grid(
        self, steps: int, solver: SolverName = "auto", spacing: SpacingName = "auto", start: float = 1.0
    ) -> list[float]:
        """The times a sampler visits, from the start down to 0."""
        name = self.usual_solver(steps) if solver == "auto" else solver
        if self.levels is not None and steps > self.levels:
            raise OptionError(f"steps={steps} is above the {self.levels} noise levels of {self.recipe}.")
        if name == "ode":
            return [start, self.path.least, 0.0]
        return spaced_grid(
            self.path, steps, SOLVERS[name].spacing if spacing == "auto" else spacing, self.levels, start
        )

    def prior(self, noise: Noise) -> Tensor:
        """x at t = 1: N(0, sigma(1)^2)."""
        return curves(self.path, 1.0)[1] * noise.normal(*self.spec.shape)

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        steps: Annotated[int, 1, 1000] = 20,
        solver: SolverName = "auto",
        spacing: SpacingName = "auto",
        eta: Annotated[float, 0, 1] = 0.0,
        guidance: Annotated[float, 0, 100] = 0.0,
        guidance_until: Annotated[float, 0, 1] = 1.0,
        rescale: Annotated[float, 0, 1] = 0.0,
        threshold: Literal["static", "dynamic", "none"] = "static",
    ) -> Tensor:
        """From noise down a grid of times, by a solver of the flow (dpmpp_2m: from 8 steps on) or a random walk.

        solver: auto is dpmpp_2m in few steps and dpmpp_2m_sde in 15 or more, unless the model has its own. spacing: of
        the grid; auto is what suits the solver. eta: how much fresh noise ddim adds. guidance: how far to exaggerate
        what label and attributes change, 0 = not at all, at times up to guidance_until; rescale, threshold: remedies
        for strong guidance.
        """
        denoise = self.denoiser(
            asked, guidance=guidance, guidance_until=guidance_until, rescale=rescale, threshold=threshold
        )
        times = self.grid(steps, solver, spacing)
        return solve(self.sampler(solver, eta, steps), denoise, self.path, self.prior(noise), times, noise)

    # -- restoration ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def redraw(
        self,
        x: Tensor,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        agree: Agreement | None = None,
        strength: float = 1.0,
        repeats: int = 1,
        **sampling: Any,
    ) -> Tensor:
        """See `restoration.redraw`."""
        return redraw(self, x, noise, asked, agree=agree, strength=strength, repeats=repeats, **sampling)

    def impute(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        seed: int = 0,
        label: Tensor | None = None,
        steps: int = 50,
        repeats: int = 5,
    ) -> Tensor:
        """x with the entries where mask is False drawn given the others: ancestral steps that put the known ones back.

        Lugmayr et al., 2022, arXiv:2201.09865, Algorithm 1 (RePaint), see `redraw`. Caution: the law is near the
        conditional one, not exact; more repeats come nearer.
        """
        self.require("impute")
        check_mask(x, mask)
        steps = min(steps, self.levels or steps)
        noise, asked = Noise(seed, len(x), device=x.device), Conditions(label=label)
        return self.redraw(x, noise, asked, agree=known(mask), repeats=repeats, steps=steps, solver="ancestral")

    def findings(self, batch: Batch, *, seed: int = 0) -> Findings | None:
        """See `checks.noise_findings`; None of models that answer another thing than a mean at every time."""
        return noise_findings(self, batch, seed=seed) if "impute" in self.capabilities else None

    # -- codes ---------------------------------------------------------------------------------------------------

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape], standard normal: the far end of the flow."""
        return noise.normal(*self.spec.shape)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] the noise, in standard deviations, from which the flow leads to x, of a class or unconditionally.

        Song et al., 2021, arXiv:2010.02502, Section 4.3, by 100 steps of Heun's method equal in log SNR.
        """
        self.require("encode")
        denoise = self.denoiser(Conditions(label=label), threshold="none")
        times = self._code_times()[::-1]
        return solve(Heun(), denoise, self.path, x, times, self._silence(x)) / curves(self.path, 1.0)[1]

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] where the flow, to a class or without any condition, leads from z; by 100 steps of Heun."""
        self.require("decode")
        denoise = self.denoiser(Conditions(label=label), threshold="none")
        x = solve(Heun(), denoise, self.path, curves(self.path, 1.0)[1] * z, self._code_times(), self._silence(z))
        return DDIM().step(denoise, self.path, x, self.path.least, 0.0, self._silence(z))

    def _code_times(self) -> list[float]:
        return spaced_grid(self.path, CODE_STEPS + 1, "log_snr")[:-1]

    @staticmethod
    def _silence(x: Tensor) -> Noise:
        """For solvers that add none."""
        return Noise(0, len(x), device=x.device)


def beside(x: Tensor, t: Tensor) -> Tensor:
    """t [B] -> [B, 1, ...], to broadcast with x [B, *shape]."""
    return t.view(-1, *[1] * (x.ndim - 1))
