"""The adversarial game: a generator of samples against a critic that scores how real they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, GenerativeModel, Noise, Player, Terms
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.gans.objectives import Objective, nonsaturating
from exnihilo.models.gans.penalties import Penalty


class GAN(GenerativeModel):
    """min_G max_D  E log D(x) + E log(1 - D(G(z))),  z ~ N(0, I),  D = sigmoid(s)  - or another pair of objectives:

    the critic s minimises     objective.critic(s(x), s(G(z))) + the sum of penalties(s, x, G(z)),
    the generator G minimises  objective.generator(s(G(z)), s(x)).

    Goodfellow et al., 2014, arXiv:1406.2661, Eq. 1. generator: [B, latent] -> [B, *shape] in model space; critic:
    [B, *shape] -> scores [B, ...]. Discrete entries reach the critic dequantised, the fakes' with the same noise as the
    reals': else it need only look for values between the levels. Caution: neither loss measures quality, and nothing
    keeps the generator from leaving out part of the data.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        objective: Objective = nonsaturating,
        penalties: Mapping[str, Penalty] | None = None,
        critic_steps: int = 1,
        optimizer: OptimizerFactory = adam(2e-4, betas=(0.5, 0.999)),
        critic_optimizer: OptimizerFactory | None = None,
        batch: int = 64,
    ):
        super().__init__()
        self.generator, self.critic, self.latent = generator, critic, latent
        self.objective, self.penalties, self.critic_steps = objective, dict(penalties or {}), critic_steps
        self.optimizer, self.critic_optimizer, self.batch = optimizer, critic_optimizer, batch
        self.compilable = not self.penalties

    def players(self) -> Iterator[Player]:
        """The critic, its lazy penalties, the generator."""
        critic = partial(Player, "critic", self.critic, optimizer=self.critic_optimizer, coupled=self.objective.paired)
        yield critic(self.critic_loss, steps=self.critic_steps)
        for name, penalty in self.penalties.items():
            if penalty.every > 1:
                yield critic(partial(self.penalty_loss, name), every=penalty.every)
        yield Player("generator", self.generator, self.generator_loss, coupled=self.objective.paired)

    def reals(self, batch: Batch) -> Tensor:
        """The batch as the critic sees it."""
        return self.spec.dequantise(batch.x)[0]

    def fakes(self, batch: Batch) -> Tensor:
        """As many samples of the generator as the batch holds, as the critic sees them."""
        z = torch.randn(len(batch), self.latent, device=batch.x.device, dtype=batch.x.dtype)
        return self.spec.dequantise(self.generator(z))[0]

    def critic_loss(self, batch: Batch) -> Terms:
        """Telling reals from fakes, and the penalties of every update.

        Logged beside them: mean scores, and `accuracy`, the share of reals scored above 0 and of fakes below. Reals
        and fakes pass in separate calls, so that a batch-normalised critic sees the statistics of each alone.
        """
        x, generated = self.reals(batch), self.fakes(batch)
        real, fake = self.critic(x), self.critic(generated)
        right = (real.detach() > 0).float().mean() + (fake.detach() < 0).float().mean()
        terms = {
            "adversarial": self.objective.critic(real, fake),
            "score/real": real.detach().mean(),
            "score/fake": fake.detach().mean(),
            "accuracy": right / 2,
        }
        for name, penalty in self.penalties.items():
            if penalty.every == 1:
                terms[name] = penalty(self.critic, x, generated)
        return terms

    def penalty_loss(self, name: str, batch: Batch) -> Terms:
        """One lazy penalty alone."""
        return {name: self.penalties[name](self.critic, self.reals(batch), self.fakes(batch))}

    def generator_loss(self, batch: Batch) -> Terms:
        """Scoring like reals."""
        fake = self.critic(self.fakes(batch))
        real = self.critic(self.reals(batch)) if self.objective.paired else None
        return {"adversarial": self.objective.generator(fake, real)}

    def decode(self, z: Tensor) -> Tensor:
        """The sample [B, *shape] of each latent [B, latent]."""
        return self.generator(z)

    def draw_code(self, noise: Noise) -> Tensor:
        """[len(noise), latent], standard normal."""
        return noise.normal(self.latent)

    def draw(
        self,
        noise: Noise,
        *,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        text: Tensor | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """G(z) with z ~ N(0, I)."""
        return self.decode(self.draw_code(noise))
