"""Adversarial games that learn the way back as well: an encoder makes codes of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Unpack

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Player, Stage, Terms
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.gans.family import GAN, Slots
from exnihilo.models.gans.latents import Latent
from exnihilo.models.gans.networks import leaky
from exnihilo.models.gans.objectives import Objective, nonsaturating
from exnihilo.nets.mlp import MLP


class CodeDistribution(Protocol):
    """q(z | x) for every example of a batch, as an encoder's numbers have it."""

    @property
    def mean(self) -> Tensor:
        """[B, latent] what `encode` answers."""
        ...

    def at(self, epsilon: Tensor) -> Tensor:
        """[B, latent] a draw, with epsilon standard normal and shaped as the mean."""
        ...


@dataclass(frozen=True)
class Point:
    """One code per example, without chance."""

    mean: Tensor

    def at(self, epsilon: Tensor) -> Tensor:
        return self.mean


def drawn(codes: CodeDistribution) -> Tensor:
    """[B, latent] one draw each, from torch's generator."""
    return codes.at(torch.randn_like(codes.mean))


class EncodedGAN(GAN):
    """A game with an encoder: q(z | x) = family(encoder(x)), a `Point` or a `DiagonalNormal`.

    How the encoder learns is each model's own affair; latents are N(0, I), which an encoder can answer.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        encoder: nn.Module,
        *,
        latent: Latent | int,
        family: Callable[[Tensor], CodeDistribution] = Point,
        objective: Objective = nonsaturating,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, objective=objective, **slots)
        self.encoder, self.family = encoder, family

    def coded(self, x: Tensor) -> Tensor:
        """[B, latent] a draw from q(z | x) for every example, from torch's generator."""
        return drawn(self.family(self.encoder(x)))

    def both(self, batch: Batch) -> Tensor:
        """[2 B, *shape] reconstructions G(z), z ~ q(z | x), then as many samples G(z), z ~ N(0, I)."""
        return self.generate(torch.cat([self.coded(batch.x), self.codes(batch.x)]), batch)

    def encode(self, x: Tensor) -> Tensor:
        """[B, latent] the mean of q(z | x)."""
        return self.family(self.encoder(x)).mean


# -- learnt in the same game -------------------------------------------------------------------------------------------


def paired(x: Tensor, z: Tensor) -> Tensor:
    """Examples [B, *shape] and their codes [B, latent] as one row each: [B, size + latent]."""
    return torch.cat([x.flatten(1), z], dim=1)


class PairCritic(nn.Module):
    """s(x, z): rows as `paired` makes them -> scores [B, 1].

    The trunk reads x (B, *shape) -> (B, width) alone, as it would in any game; what it says meets z in further layers.
    """

    def __init__(self, trunk: nn.Module, shape: tuple[int, ...], latent: int, width: int):
        super().__init__()
        self.shape, self.latent = shape, latent
        self.trunk = nn.Sequential(trunk, leaky())
        self.head = MLP((width + latent,), (1,), width, activation=leaky)

    def forward(self, pairs: Tensor) -> Tensor:
        x, z = pairs[:, : -self.latent], pairs[:, -self.latent :]
        return self.head(torch.cat([self.trunk(x.unflatten(1, self.shape)), z], dim=1))


class ALI(EncodedGAN):
    """min_{G, E} max_D  E log D(x, E(x)) + E log(1 - D(G(z), z)):  a code made of an example, or an example of a code?

    Dumoulin et al., 2017, arXiv:1606.00704, Eq. 2; Donahue et al., 2017, arXiv:1605.09782, Eq. 3. Encoder and generator
    are one player and minimise the objective with real and fake exchanged, in its non-saturating form for both kinds of
    pairs; it must be one that turns over with the score's sign (not least squares). Where the critic cannot tell,
    q(x) q(z | x) = p(z) p(x | z): the encoder inverts the generator. The critic scores `paired` rows. Caution: nothing
    compares x with G(E(x)) directly, so a reconstruction shows another example of the kind before it shows the same.
    """

    def players(self) -> Iterator[Player]:
        """The critic, its lazy penalties, and generator and encoder together."""
        *critics, generator = super().players()
        yield from critics
        yield replace(generator, module=nn.ModuleList([self.generator, self.encoder]))

    def reals(self, batch: Batch) -> Tensor:
        """Examples with their codes."""
        return paired(self.shown(batch.x), self.coded(batch.x))

    def fakes(self, batch: Batch) -> Tensor:
        """Codes with their samples."""
        z = self.codes(batch.x)
        return paired(self.shown(self.generate(z, batch)), z)

    def generator_loss(self, batch: Batch) -> Terms:
        """Samples pass for examples, and codes for latents: of those pairs the score's sign turns round."""
        real, fake = self.critique(self.reals(batch), batch), self.critique(self.fakes(batch), batch)
        return {"generator": self.objective.generator(fake, real), "encoder": self.objective.generator(-real, -fake)}


class AEGAN(EncodedGAN):
    """After the game, which leaves the generator as it is:  min_E  E ||G(z) - G(E(G(z)))||^2,  z ~ N(0, I).

    Luo et al., 2017 (ICONIP); a mean over the entries of x. Several latents may make one example, so the distance is
    between examples: between latents the best answer would lie in the middle of them, and make another example.
    `share`: of the training, the encoder's. Caution: the encoder sees samples alone; of real examples it knows as much
    as the generator does.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        encoder: nn.Module,
        *,
        latent: Latent | int,
        share: float = 0.3,
        objective: Objective = nonsaturating,
        inverse_optimizer: OptimizerFactory | None = None,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, encoder, latent=latent, objective=objective, **slots)
        self.share, self.inverse_optimizer = share, inverse_optimizer

    def stages(self) -> Iterator[Stage]:
        """The game, then the encoder alone; what no longer plays is in eval mode and keeps still."""
        yield Stage("game", self.players, share=1 - self.share)
        yield Stage("inverse", self.inverters, share=self.share)

    def inverters(self) -> Iterator[Player]:
        """The encoder."""
        yield Player("encoder", self.encoder, self.inverse_loss, optimizer=self.inverse_optimizer)

    def inverse_loss(self, batch: Batch) -> Terms:
        """As many samples as the batch holds, coded and made again."""
        x = self.generate(self.codes(batch.x), batch)
        return {"inverse": (x - self.generate(self.coded(x), batch)).square().mean()}
