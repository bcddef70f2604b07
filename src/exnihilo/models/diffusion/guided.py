"""Diffusion with a classifier of noisy examples beside it, whose gradient steers the samples to their class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exnihilo.core import NOTHING, Batch, Conditions, Data, Noise, OptionError, Player, Stage, Terms
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.diffusion.family import beside
from exnihilo.models.diffusion.guidance import by_energy
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.samplers import SolverName, SpacingName
from exnihilo.probability.solvers import Denoise, solve


class GuidedDiffusion(LearnedVariance):
    """Beside the denoiser, minimise -log p(class | x_t) over examples with the noise of all levels, in a second stage.

    Samples follow noise - s sigma grad_x log p(class | x_t) with s = `classifier_guidance` (Dhariwal & Nichol, 2021,
    arXiv:2105.05233, Eq. 14, at x_t as in their code, with every sampler). The denoiser knows the class as well, so s
    counts from the conditional model, and `guidance` without the classifier may be asked for too. Data without labels
    leave the classifier out. `classify` asks it at the smallest level of noise.
    """

    classifying: Tensor

    def __init__(self, *parts: Any, classifier: nn.Module | None, share: float, rate: OptimizerFactory, **slots: Any):
        """classifier: (x, t [B]) -> [B, classes] logits, which takes `share` of the rounds; the rest as of the base."""
        super().__init__(*parts, **slots)
        self.classifier, self.share, self.rate = classifier, share, rate
        self.register_buffer("classifying", torch.tensor(False))  # which of the two is validated
        if classifier is None:
            self.withdrawn |= {"classify"}

    # -- training ------------------------------------------------------------------------------------------------

    def players(self) -> Iterable[Player]:
        return [Player("model", self.network, self.loss)]

    def stages(self) -> Iterable[Stage]:
        first = Stage("denoiser", self.players, 1 - self.share, enter=self.measure)
        if self.classifier is None:
            return [first]
        player = Player("classifier", self.classifier, self.classifier_loss, optimizer=self.rate)
        return [first, Stage("classifier", lambda: [player], self.share, enter=self._classify_next)]

    def _classify_next(self, data: Data) -> None:
        self.classifying.fill_(True)

    def classifier_loss(self, batch: Batch) -> Terms:
        """The cross-entropy in nats at all levels of noise alike, over the examples whose class is known."""
        assert self.classifier is not None
        assert batch.label is not None
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        times = self.times(len(x), x.device)
        logits = self.classifier(self.noisy(x, torch.randn_like(x), beside(x, times)), times)
        known = (batch.label >= 0).sum().clamp(min=1)
        return {"cross_entropy": cross_entropy(logits, batch.label, ignore_index=-1, reduction="sum") / known}

    def validate(self, batch: Batch) -> Terms:
        """The loss of whoever is learning."""
        if self.classifying:
            return {"loss": self.classifier_loss(batch)["cross_entropy"].detach()}
        return super().validate(batch)

    # -- the class -----------------------------------------------------------------------------------------------

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(class | x), by the classifier at the smallest level of noise."""
        self.require("classify")
        return self._log_classes(x, torch.full((len(x),), self.path.least, dtype=x.dtype, device=x.device))

    def _log_classes(self, x: Tensor, t: Tensor) -> Tensor:
        """[B, classes] log p(class | x_t)."""
        assert self.classifier is not None
        logits: Tensor = self.classifier(x, t)
        return logits.log_softmax(dim=1)

    def denoiser(self, asked: Conditions = NOTHING, *, classifier_guidance: float = 0.0, **others: Any) -> Denoise:
        """As of the base, steered by the classifier before the expected data are kept in their box."""
        if classifier_guidance == 0:
            return super().denoiser(asked, **others)
        if self.classifier is None:
            why = "with classifier=0" if self.labelled else "without labels"
            raise OptionError(
                f"classifier_guidance needs a classifier, and this {self.recipe} was trained {why}. Leave it out, or"
                " train on labelled data, with classifier above 0."
            )
        threshold = others.pop("threshold", "static")
        free = super().denoiser(asked, threshold="none", **others)

        def log_class(x: Tensor, t: Tensor) -> Tensor:
            each = self._log_classes(x, t)
            if asked.label is None:
                return each[:, 0] * 0.0
            known = asked.label >= 0
            return each.gather(1, asked.label.clamp(min=0)[:, None])[:, 0] * known

        return self.within(by_energy(free, log_class, classifier_guidance, self.path), threshold)

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        steps: Annotated[int, 1, 1000] = 20,
        solver: SolverName = "auto",
        spacing: SpacingName = "auto",
        eta: Annotated[float, 0, 1] = 0.0,
        classifier_guidance: Annotated[float, 0, 100] = 0.0,
        guidance: Annotated[float, 0, 100] = 0.0,
        guidance_until: Annotated[float, 0, 1] = 1.0,
        rescale: Annotated[float, 0, 1] = 0.0,
        threshold: Literal["static", "dynamic", "none"] = "static",
    ) -> Tensor:
        """As of the base; classifier_guidance: how far the classifier pushes samples to their class, 0 = not at all."""
        denoise = self.denoiser(
            asked, classifier_guidance=classifier_guidance, guidance=guidance,
            guidance_until=guidance_until, rescale=rescale, threshold=threshold,
        )  # fmt: skip
        times = self.grid(steps, solver, spacing)
        return solve(self.sampler(solver, eta, steps), denoise, self.path, self.prior(noise), times, noise)
