"""The adversarial game: a generator of samples against a critic that scores how real they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, GenerativeModel, Noise, Player, Terms
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.gans.latents import Latent, Normal
from exnihilo.models.gans.objectives import Objective, nonsaturating
from exnihilo.models.gans.penalties import Penalty

#: A further wish of the generator: (critic, real, fake) -> a scalar to be minimised, its weight inside.
Content = Callable[[nn.Module, Tensor, Tensor], Tensor]

#: What the critic is shown of examples: (x, progress of the training) -> x; instance noise, augmentation.
Sight = Callable[[Tensor, float], Tensor]

#: What follows an update: `Player.after`.
After = Callable[[Terms], None]


class Slots(TypedDict, total=False):
    """What every game may choose beside its latent and objective, as `GAN` has it: a subclass takes these as they are
    and adds its own parts."""

    penalties: Mapping[str, Penalty] | None
    contents: Mapping[str, Content] | None
    sight: Sight | None
    critic_steps: int
    after_critic: After | None
    after_generator: After | None
    optimizer: OptimizerFactory
    critic_optimizer: OptimizerFactory | None
    batch: int


class GAN(GenerativeModel):
    """min_G max_D  E log D(x) + E log(1 - D(G(z))),  z ~ N(0, I),  D = sigmoid(s)  - or another pair of objectives:

    the critic s minimises     objective.critic(s(x), s(G(z))) + the sum of penalties(s, x, G(z)),
    the generator G minimises  objective.generator(s(G(z)), s(x)) + the sum of contents(critic, x, G(z)).

    Goodfellow et al., 2014, arXiv:1406.2661, Eq. 1. generator: [B, latent] -> [B, *shape] in model space; critic:
    [B, *shape] -> scores [B, ...]; where `conditional`, both take as a second argument what is asked (the batch itself
    in training): label, attributes, given. Discrete entries reach the critic dequantised, the fakes' with the same
    noise as the reals': else it need only look for values between the levels. Caution: neither loss measures quality,
    and nothing keeps the generator from leaving out part of the data.
    """

    coupled = False  # of classes whose losses compare the examples of a batch: no gradient accumulation

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: Latent | int,
        objective: Objective = nonsaturating,
        penalties: Mapping[str, Penalty] | None = None,
        contents: Mapping[str, Content] | None = None,
        conditional: bool = False,
        sight: Sight | None = None,
        critic_steps: int = 1,
        after_critic: After | None = None,
        after_generator: After | None = None,
        optimizer: OptimizerFactory = adam(2e-4, betas=(0.5, 0.999)),
        critic_optimizer: OptimizerFactory | None = None,
        batch: int = 64,
    ):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.latent: Latent = Normal(latent) if isinstance(latent, int) else latent
        self.objective, self.penalties, self.contents = objective, dict(penalties or {}), dict(contents or {})
        self.conditional, self.sight = conditional, sight
        self.labelled = conditional
        self.critic_steps, self.after_critic, self.after_generator = critic_steps, after_critic, after_generator
        self.optimizer, self.critic_optimizer, self.batch = optimizer, critic_optimizer, batch
        self.compilable = not self.penalties
        slots = [*self.penalties.values(), *self.contents.values()]
        self.remembering = nn.ModuleList([slot for slot in slots if isinstance(slot, nn.Module)])  # saved with the rest

    def players(self) -> Iterator[Player]:
        """The critic, its lazy penalties, the generator."""
        coupled = self.coupled or self.objective.paired
        critic = partial(Player, "critic", self.critic, optimizer=self.critic_optimizer, coupled=coupled)
        yield critic(self.critic_loss, steps=self.critic_steps, after=self.after_critic)
        for name, penalty in self.penalties.items():
            if penalty.every > 1:
                yield critic(partial(self.penalty_loss, name), every=penalty.every)
        after = self.after_generator
        yield Player("generator", self.generator, self.generator_loss, after=after, coupled=coupled)

    # -- what meets in the game ----------------------------------------------------------------------------------

    def codes(self, like: Tensor) -> Tensor:
        """[B, width] as many latents as there are examples in `like`, from torch's generator."""
        return self.latent(torch.randn(len(like), self.latent.size, device=like.device, dtype=like.dtype))

    def generate(self, z: Tensor, asked: Batch | Conditions) -> Tensor:
        """G(z), or G(z | what is asked)."""
        return self.generator(z, asked) if self.conditional else self.generator(z)

    def critique(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        """s(x), or s(x | what is asked)."""
        return self.critic(x, asked) if self.conditional else self.critic(x)

    def shown(self, x: Tensor) -> Tensor:
        """Examples as the critic sees them."""
        x = self.spec.dequantise(x)[0]
        return x if self.sight is None else self.sight(x, self.progress)

    def reals(self, batch: Batch) -> Tensor:
        """The batch as the critic sees it."""
        return self.shown(batch.x)

    def fakes(self, batch: Batch) -> Tensor:
        """As many samples of the generator as the batch holds, as the critic sees them."""
        return self.shown(self.generate(self.codes(batch.x), batch))

    # -- what the players minimise -------------------------------------------------------------------------------

    def critic_loss(self, batch: Batch) -> Terms:
        """Telling reals from fakes, and the penalties of every update.

        Reals and fakes pass in separate calls, so that a batch-normalised critic sees the statistics of each alone.
        """
        x, generated = self.reals(batch), self.fakes(batch)
        real, fake = self.critique(x, batch), self.critique(generated, batch)
        terms = {"adversarial": self.objective.critic(real, fake), **watched(real, fake)}
        return terms | self.penalised(x, generated, batch)

    def penalised(self, x: Tensor, generated: Tensor, batch: Batch) -> Terms:
        """The penalties of every update, of reals and fakes as the critic sees them."""
        score = partial(self.critique, asked=batch)
        return {name: penalty(score, x, generated) for name, penalty in self.penalties.items() if penalty.every == 1}

    def penalty_loss(self, name: str, batch: Batch) -> Terms:
        """One lazy penalty alone."""
        return {name: self.penalties[name](partial(self.critique, asked=batch), self.reals(batch), self.fakes(batch))}

    def generator_loss(self, batch: Batch) -> Terms:
        """Scoring like reals, and the generator's further wishes."""
        generated = self.fakes(batch)
        fake = self.critique(generated, batch)
        real = self.critique(self.reals(batch), batch) if self.objective.paired else None
        return {"adversarial": self.objective.generator(fake, real)} | self.wished(batch, generated)

    def wished(self, batch: Batch, generated: Tensor) -> Terms:
        """The contents of reals and fakes as the critic sees them."""
        if not self.contents:
            return {}
        x = self.reals(batch)
        return {name: content(self.critic, x, generated) for name, content in self.contents.items()}

    # -- what it can do ------------------------------------------------------------------------------------------

    def decode(
        self,
        z: Tensor,
        *,
        label: Tensor | None = None,
        attributes: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """The sample [B, *shape] of each latent [B, width]."""
        return self.generate(z, Conditions(label=label, attributes=attributes, given=given))

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), width]."""
        return self.latent(noise.normal(self.latent.size))

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """G(z) with z from the latent's distribution."""
        return self.generate(self.draw_code(noise, asked), asked)


def watched(real: Tensor, fake: Tensor) -> Terms:
    """What is logged of scores: their means, and how often a real is scored above a fake, each with each in its place.

    0.5: the critic cannot tell them apart, whatever the objective and wherever its scores have their zero.
    """
    real, fake = real.detach(), fake.detach()
    pairs = min(len(real), len(fake))
    gap = real - fake if len(real) == len(fake) else real[:pairs] - fake[:pairs]
    return {"score/real": real.mean(), "score/fake": fake.mean(), "accuracy": 0.5 + 0.5 * gap.sign().mean()}
