"""Models that learn to sample in few steps: progressive distillation and consistency."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Batch, Conditions, Data, Noise, Player, Prediction, Stage, Terms
from exnihilo.models.diffusion.family import Diffusion, beside
from exnihilo.models.diffusion.predictions import TINY, PredictionType
from exnihilo.probability.grids import spaced_grid
from exnihilo.probability.paths import Path
from exnihilo.probability.solvers import DDIM, solve
from exnihilo.probability.stochastic import Jumps
from exnihilo.probability.transitions import curves


class ProgressiveDistillation(Diffusion):
    """A teacher, then students, each of which does in one DDIM step what the one before did in two.

    Salimans & Ho, 2022, arXiv:2202.00512, Algorithm 2. With t = i / N, t' = t - 1/(2N), t'' = t - 1/N the student's
    expected data are drawn to those by which one step from t to t'' arrives where the teacher's two steps do,

        x~ = (x_t'' - (sigma_t'' / sigma_t) x_t) / (alpha_t'' - (sigma_t'' / sigma_t) alpha_t).

    N halves from stage to stage; a student starts as its teacher. `student_steps` is the N of the weights at hand, 0
    while the teacher learns.
    """

    withdrawn = frozenset({"impute"})  # a student knows few times
    student_steps: Tensor

    def __init__(self, *parts: Any, first: int, last: int, share: float, **slots: Any):
        """first, last: N of the first and last student, powers of two; share: of the rounds, of all students."""
        super().__init__(*parts, **slots)
        self.first, self.last, self.share = first, last, share
        self.teacher = copy.deepcopy(self.network)
        self.register_buffer("student_steps", torch.tensor(0))

    def players(self) -> Iterable[Player]:
        return [Player("model", self.network, self.loss)]

    def stages(self) -> Iterable[Stage]:
        rounds = round(math.log2(self.first / self.last)) + 1
        students = [
            Stage(
                f"{steps} steps",
                partial(self._students, steps),
                self.share / rounds,
                enter=partial(self._promote, steps),
            )
            for steps in (self.first // 2**k for k in range(rounds))
        ]
        return [Stage("teacher", self.players, 1 - self.share, enter=self.measure), *students]

    def _students(self, steps: int) -> list[Player]:
        return [Player("model", self.network, partial(self.student_loss, steps))]

    def _promote(self, steps: int, data: Data) -> None:
        """The student becomes the teacher of the next."""
        self.teacher.load_state_dict(self.network.state_dict())
        self.student_steps.fill_(steps)

    def student_loss(self, steps: int, batch: Batch) -> Terms:
        """Of a student of so many steps."""
        x, n = batch.x, len(batch)
        label, attributes = self.hidden(batch)
        times = torch.randint(1, steps + 1, (n,), device=x.device) / steps
        t, half, later = (beside(x, times - back / steps) for back in (0.0, 0.5, 1.0))
        later = later.clamp(min=0.0)
        noisy = self.noisy(x, torch.randn_like(x), t)
        with torch.no_grad():
            middle = self._ddim(noisy, t, half, label, attributes)
            end = self._ddim(middle, half, later, label, attributes)
        (alpha, sigma), (alpha_end, sigma_end) = self.path(t), self.path(later)
        ratio = sigma_end / sigma
        target = (end - ratio * noisy) / (alpha_end - ratio * alpha)
        data = self.prediction.read(self.answer(noisy, times, label, attributes), noisy, self.path, t).data
        weight = (alpha / sigma).square().clamp(min=1.0)
        return {"squared_error": (weight * (data - target).square()).mean()}

    def _ddim(self, x: Tensor, t: Tensor, s: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        """The teacher's deterministic step from t to s, each example at its own times."""
        scaled = self.prediction.scale(self.path, t) * x
        answer = self.teacher(scaled, self.path.clock(t.flatten()), label, attributes)
        prediction = self.prediction.read(answer, x, self.path, t)
        alpha, sigma = self.path(s)
        return alpha * prediction.data + sigma * prediction.noise

    def draw(  # type: ignore[override]
        self, noise: Noise, asked: Conditions = NOTHING, *, steps: Annotated[int, 0, 1000] = 0
    ) -> Tensor:
        """By DDIM in as many equal steps of time as the student has learned (0), or another number of them."""
        steps = steps or int(self.student_steps) or self.first
        times = [1 - i / steps for i in range(steps)] + [0.0]
        return solve(DDIM(), self.denoiser(asked), self.path, self.prior(noise), times, noise)


def boundary(deviation: float, least: float) -> PredictionType:
    """data = c_skip x + c_out answer with c_skip = 1 and c_out = 0 at the smallest noise level `least`.

    Song et al., 2023, arXiv:2303.01469, Eq. 5 and appendix C, on a path with alpha = 1: c_skip = d^2 / ((s - e)^2 +
    d^2), c_out = d (s - e) / sqrt(s^2 + d^2), c_in = 1 / sqrt(s^2 + d^2). deviation d: of the data.
    """

    def parts(path: Path, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sigma = path(t)[1]
        over, power = (sigma - least).clamp(min=0.0), (sigma.square() + deviation**2)
        return deviation**2 / (over.square() + deviation**2), deviation * over / power.sqrt(), 1 / power.sqrt()

    def target(data: Tensor, noise: Tensor, path: Path, t: Tensor) -> Tensor:
        skip, out, _ = parts(path, t)
        return (data - skip * (data + path(t)[1] * noise)) / out.clamp(min=TINY)

    def read(answer: Tensor, x: Tensor, path: Path, t: Tensor) -> Prediction:
        skip, out, _ = parts(path, t)
        data = skip * x + out * answer
        return Prediction(data, (x - data) / path(t)[1].clamp(min=TINY))

    return PredictionType(target, read, lambda path, t: parts(path, t)[1], lambda path, t: parts(path, t)[2])


class Consistency(Diffusion):
    """A function that takes every point of a path of the flow to where that path began: f(x_t, t) = f(x_s, s).

    Song et al., 2023, arXiv:2303.01469. In training neighbours x_{i+1} and x_i on a grid of noise levels are drawn
    together, the answer at the noisier one to that at the other,

        w_i d(f(x_{i+1}, s_{i+1}), f(x_i, s_i)),  w_i = 1 / (s_{i+1} - s_i),  d = sqrt(|a - b|^2 + c^2) - c.

    From scratch (Algorithm 3) both points have the same noise, and the target is this network without gradient (Song &
    Dhariwal, 2024, arXiv:2310.14189, with its distance, times and doubling grid). Distilled (Algorithm 2), a teacher
    learned in a first stage steps from the one point to the other by Heun's method. Caution: `denoise` answers a sample
    and not a mean, so only `Jumps` may sample.
    """

    withdrawn = frozenset({"encode", "decode", "reconstruct", "score", "impute"})  # those need a mean

    def __init__(
        self,
        *parts: Any,
        teacher: Diffusion | None,
        coarse: int,
        fine: int,
        mean: float = -1.1,
        spread: float = 2.0,
        share: float = 0.5,
        **slots: Any,
    ):
        """teacher: a denoiser of the same path to distil, or None; coarse, fine: noise levels at first and at last."""
        super().__init__(*parts, **slots)
        self.teacher = teacher
        self.coarse, self.fine, self.mean, self.spread, self.share = coarse, fine, mean, spread, share

    def players(self) -> Iterable[Player]:
        return [Player("model", self.network, self.loss)]

    def stages(self) -> Iterable[Stage]:
        if self.teacher is None:
            return [Stage("train", self.players, enter=self.measure)]
        teacher = self.teacher
        learning = [Player("teacher", teacher.network, teacher.loss)]
        return [
            Stage("teacher", lambda: learning, 1 - self.share, enter=self.measure),
            Stage("distil", self.players, self.share, enter=self._copy),
        ]

    def _copy(self, data: Data) -> None:
        """The student starts as its teacher, which preconditions its answer in almost the same way."""
        assert self.teacher is not None
        self.network.load_state_dict(self.teacher.network.state_dict())

    def noise_levels(self) -> Tensor:
        """Times from `path.least` to 1, spaced as Karras et al. do; their number doubles as the training goes on."""
        doublings = math.floor(self.progress * (math.log2(self.fine / self.coarse) + 1))
        levels = min(self.fine, self.coarse * 2**doublings)
        times = spaced_grid(self.path, levels + 1, "karras")[-2::-1]
        return torch.tensor(times, device=self.low.device)

    def loss(self, batch: Batch) -> Terms:
        x, (label, attributes) = batch.x, self.hidden(batch)
        times = self.noise_levels()
        sigma = self.path(times)[1]
        edges = torch.special.erf((sigma.log() - self.mean) / (math.sqrt(2) * self.spread))
        chosen = torch.multinomial(edges.diff(), len(x), replacement=True)
        later, earlier = times[chosen + 1], times[chosen]
        noise = torch.randn_like(x)
        noisy = self.noisy(x, noise, beside(x, later))
        with torch.no_grad():
            if self.teacher is None:
                nearer = self.noisy(x, noise, beside(x, earlier))
            else:
                nearer = self._teach(noisy, later, earlier, label, attributes)
        answer = self.denoise(noisy, later, label=label, attributes=attributes).data
        with torch.no_grad():
            target = self.denoise(nearer, earlier, label=label, attributes=attributes).data
        c = 0.00054 * math.sqrt(x[0].numel())
        distance = ((answer - target).square().flatten(1).sum(dim=1) + c**2).sqrt() - c
        weight = 1 / (sigma[chosen + 1] - sigma[chosen])
        return {"distance": (weight * distance).mean()}

    def _teach(self, x: Tensor, t: Tensor, s: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        """Heun's step of the teacher's flow from t to s, each example at its own times; alpha = 1."""
        assert self.teacher is not None
        step = self.path(beside(x, s))[1] - self.path(beside(x, t))[1]
        slope = self.teacher.denoise(x, t, label=label, attributes=attributes).noise
        guess = x + step * slope
        return x + step / 2 * (slope + self.teacher.denoise(guess, s, label=label, attributes=attributes).noise)

    def validate(self, batch: Batch) -> Terms:
        """Nothing: the distance depends on the number of levels, which changes."""
        return {}

    def draw(  # type: ignore[override]
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        steps: Annotated[int, 1, 100] = 2,
        threshold: Literal["static", "none"] = "static",
    ) -> Tensor:
        """In one jump from pure noise, or in several with noise given back between them (Algorithm 1)."""
        denoise = self.denoiser(asked, threshold=threshold)
        times = spaced_grid(self.path, steps, "karras") if steps != 2 else [1.0, self._middle(), 0.0]
        return solve(Jumps(), denoise, self.path, self.prior(noise), times, noise)

    def _middle(self) -> float:
        """The time of the second jump: sigma near 0.8 where the path has it (arXiv:2310.14189, Section 4)."""
        highest = curves(self.path, 1.0)[1]
        wanted = torch.tensor(-math.log(min(0.821, highest / 2)), dtype=torch.float64)
        return float(self.path.time_of(wanted))
