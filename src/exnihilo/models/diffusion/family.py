"""The family's equation, and its two final models: by discrete levels of noise, and by a flow in continuous time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Prediction, Stage, Terms
from exnihilo.models.diffusion.bound import diffusion_bound
from exnihilo.models.diffusion.guidance import classifier_free, clipped
from exnihilo.models.diffusion.predictions import PredictionType
from exnihilo.models.diffusion.times import Times, Weighting, evenly
from exnihilo.probability.paths import Discrete, Path
from exnihilo.probability.solvers import DDIM, Ancestral, Euler, Heun, Sampler, solve, time_grid

#: Heun steps by which codes are made and read back.
CODE_STEPS = 100


class Diffusion(GenerativeModel):
    """Minimise E w(t) |network(x_t, t) - target|^2 over data, noise and t, with x_t = alpha(t) data + sigma(t) noise.

    The answer of the network, whatever its `prediction` type, becomes expected data and noise in `denoise`, all that
    guidance, clipping and samplers see. Ho et al., 2020, arXiv:2006.11239, Eq. 14; Lipman et al., 2023,
    arXiv:2210.02747, Eq. 9. The network is told t in [0, 1] itself, so there is no index to be off by one.
    """

    batch = 48

    def __init__(
        self,
        network: nn.Module,
        path: Path,
        prediction: PredictionType,
        times: Times,
        *,
        weighting: Weighting = evenly,
        unconditional: float = 0.1,
        labelled: bool = False,
    ):
        super().__init__()
        self.network, self.path, self.prediction = network, path, prediction
        self.times, self.weighting = times, weighting
        self.unconditional = unconditional  # share of examples whose conditions are hidden in training
        self.labelled = labelled

    def loss(self, batch: Batch) -> Terms:
        x, noise = batch.x, torch.randn_like(batch.x)
        times = self.times(len(x), x.device)
        t = _beside(x, times)
        alpha, sigma = self.path(t)
        answer = self.network(alpha * x + sigma * noise, times, *self._hide(batch))
        error = (answer - self.prediction.target(x, noise, self.path, t)).square()
        return {"squared_error": (self.weighting(self.path, t) * error).mean()}

    def _hide(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Label and attributes, unknown for some of the examples: so one network learns with and without them."""
        label, attributes = batch.label if self.labelled else None, batch.attributes
        if label is None and attributes is None:
            return None, None
        hidden = torch.rand(len(batch), device=batch.x.device) < self.unconditional
        return (
            None if label is None else label.masked_fill(hidden, -1),
            None if attributes is None else attributes.masked_fill(hidden[:, None], torch.nan),
        )

    def denoise(
        self, x: Tensor, t: Tensor, *, label: Tensor | None = None, attributes: Tensor | None = None
    ) -> Prediction:
        """The expected data and noise given x [B, *shape] at times t [B]; they add up to x."""
        t = t.to(x)
        return self.prediction.read(self.network(x, t, label, attributes), x, self.path, _beside(x, t))


def _beside(x: Tensor, t: Tensor) -> Tensor:
    """t [B] -> [B, 1, ...], to broadcast with x [B, *shape]."""
    return t.view(-1, *[1] * (x.ndim - 1))


class DenoisingDiffusion(Diffusion):
    """Diffusion over T discrete levels of noise, undone by ancestral sampling or DDIM, with a bound on the likelihood.

    The expected data are clipped to a box in which they must lie: the range of the levels, else that of the training
    data, found when the training begins. As in the paper, samples are of the clipped model; so is the bound on a mass.
    """

    path: Discrete
    low: Tensor
    high: Tensor

    def __init__(
        self,
        network: nn.Module,
        path: Discrete,
        prediction: PredictionType,
        times: Times,
        *,
        box: tuple[Tensor, Tensor],
        mass: bool,
        weighting: Weighting = evenly,
        unconditional: float = 0.1,
        labelled: bool = False,
    ):
        super().__init__(
            network, path, prediction, times, weighting=weighting, unconditional=unconditional, labelled=labelled
        )
        self.mass = mass
        self.register_buffer("low", box[0])  # [*shape]
        self.register_buffer("high", box[1])

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self._measure_box)]

    def _measure_box(self, data: Data) -> None:
        """The smallest box around the training data, where the levels do not tell it."""
        if self.mass:
            return
        x = data.first().x.to(self.low)
        margin = self.spec.steps(x) / 2  # of the noise that dequantises
        self.low.copy_(x.amin(dim=0) - margin)
        self.high.copy_(x.amax(dim=0) + margin)

    def loss(self, batch: Batch) -> Terms:
        if not self.mass:  # the bound is on a density: discrete columns are spread over their steps
            batch = batch.replace(x=self.spec.dequantise(batch.x)[0])
        return super().loss(batch)

    def validate(self, batch: Batch) -> Terms:
        """The loss, which samples follow; the bound weighs imperceptible detail most and has other best weights."""
        return {"loss": self.loss(batch)["squared_error"].detach()}

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        steps: Annotated[int, 1, 1000] = 50,
        sampler: Literal["ancestral", "ancestral_large", "ddim"] = "ancestral",
        guidance: Annotated[float, 0, 100] = 0.0,
    ) -> Tensor:
        """From noise down an even selection of the levels, one evaluation of the network each.

        guidance: how far to exaggerate what label and attributes change; 0 = not at all.
        """
        denoise = classifier_free(self.denoise, guidance, asked.label, asked.attributes)
        denoise = clipped(denoise, self.path, self.low, self.high)
        choices: dict[str, Sampler] = {
            "ancestral": Ancestral(),
            "ancestral_large": Ancestral(large=True),
            "ddim": DDIM(),
        }
        x = noise.normal(*self.spec.shape)
        return solve(choices[sampler], denoise, self.path, x, time_grid(steps, self.path.steps), noise)

    def log_prob_bound(
        self,
        x: Tensor,
        *,
        k: int = 16,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """[B] an unbiased estimate of the variational bound in nats from k levels of noise (see `diffusion_bound`).

        More levels make it more exact, not tighter. Of the levels of discrete data (`mass`), else of the density.
        """

        def expected(noisy: Tensor, t: Tensor) -> Tensor:
            data = self.denoise(noisy, t, label=label, attributes=attributes).data
            return data.clamp(self.low, self.high) if self.mass else data

        noise = Noise(seed, len(x), device=x.device)
        return diffusion_bound(expected, self.path, x, noise, k, self.spec if self.mass else None)


class FlowMatching(Diffusion):
    """A flow from noise to data along dx/dt, solved by Euler's or Heun's method, hence also a code for every example.

    States no density, so discrete columns are learned as they stand, one-hot categories as 0 and 1; samples are
    continuous and `spec.quantise` takes the nearest row.
    """

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        steps: Annotated[int, 1, 1000] = 12,
        solver: Literal["heun", "euler"] = "heun",
        guidance: Annotated[float, 0, 100] = 0.0,
    ) -> Tensor:
        """From noise along the flow in equal steps of time; heun evaluates the network twice a step but the last.

        guidance: how far to exaggerate what label and attributes change; 0 = not at all.
        """
        denoise = classifier_free(self.denoise, guidance, asked.label, asked.attributes)
        sampler: Sampler = Heun() if solver == "heun" else Euler()
        x = noise.normal(*self.spec.shape)
        x = solve(sampler, denoise, self.path, x, time_grid(steps), noise)
        return x.clamp(-1, 1) if self.spec.kind == "image" else x

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape], standard normal: the far end of the flow."""
        return noise.normal(*self.spec.shape)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] the noise from which the flow, to a class or without any condition, leads to x."""
        return self._follow(x, time_grid(CODE_STEPS)[::-1], label)

    def decode(self, z: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, *shape] where the flow, to a class or without any condition, leads from z; by 100 steps of Heun."""
        return self._follow(z, time_grid(CODE_STEPS), label)

    def _follow(self, x: Tensor, times: Sequence[float], label: Tensor | None) -> Tensor:
        """x carried along the flow through these times."""
        denoise = classifier_free(self.denoise, 0.0, label, None)
        return solve(Heun(), denoise, self.path, x, times, Noise(0, len(x), device=x.device))
