"""Critics that are autoencoders: an example is as real as it is well restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Unpack, final

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, Player, Terms
from exnihilo.models.gans.family import GAN, Slots
from exnihilo.models.gans.latents import Latent
from exnihilo.models.gans.networks import critic_for, generator_for

#: [B, *shape] twice -> [B]: how far each example is from the other.
Distance = Callable[[Tensor, Tensor], Tensor]


def root_mean_square(x: Tensor, rebuilt: Tensor) -> Tensor:
    """[B]: the root of the mean over an example's entries of their squared difference; as steep near 0 as far off."""
    return ((x - rebuilt).square().flatten(1).mean(dim=1) + 1e-12).sqrt()


def mean_absolute(x: Tensor, rebuilt: Tensor) -> Tensor:
    """[B]: the mean over an example's entries of their absolute difference."""
    return (x - rebuilt).abs().flatten(1).mean(dim=1)


class AutoencodingCritic(nn.Module):
    """s(x) = -distance(x, decoder(encoder(x))): minus an energy, so that it is high for real as every score.

    encoder: [B, *shape] -> codes [B, code]; decoder: the way back. `features` are the codes.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code: int, distance: Distance):
        super().__init__()
        self.encoder, self.decoder, self.feature_size, self.distance = encoder, decoder, code, distance

    def features(self, x: Tensor) -> Tensor:
        """[B, code]."""
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        return -self.distance(x, self.decoder(self.encoder(x)))


def autoencoding_critic(data: DataSpec, code: int, width: int, distance: Distance) -> AutoencodingCritic:
    """Its encoder is built as other critics are, its decoder as generators are."""
    encoder = critic_for(data, width, outputs=code)
    return AutoencodingCritic(encoder, generator_for(data, code, width, normalisation="group"), code, distance)


def bottleneck(data: DataSpec, code: int | None) -> int:
    """The length of a critic's code, as asked; none: a fifth of a picture's numbers, at most 32, and 8 of other data.

    A longer one restores whatever it is shown, and so tells nothing apart: of digits, 12 of 64.
    """
    return code or (max(1, min(32, data.size // 5)) if data.kind == "image" else 8)


@final
class BoundaryEquilibriumGAN(GAN):
    """The critic minimises  L(x) - k L(G(z)),  the generator  L(G(z)),  L(v) = |v - autoencoder(v)|,

    and k in [0, 1] moves by  `step` (diversity L(x) - L(G(z)))  after every round, so that L(G(z)) = diversity L(x).

    Berthelot et al., 2017, arXiv:1703.10717, Eq. 5. M = L(x) + |diversity L(x) - L(G(z))| (Section 3.4.1) measures how
    far the game has come; on held-out data it decides which weights are kept. Caution: M compares states of one run,
    not different critics: it is in the units of their errors.
    """

    balance: Tensor
    real_energy: Tensor

    def __init__(
        self,
        generator: nn.Module,
        critic: AutoencodingCritic,
        *,
        latent: Latent | int,
        diversity: float = 0.5,
        step: float = 1e-3,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, **slots)
        self.diversity, self.step = diversity, step
        self.register_buffer("balance", torch.zeros(()))  # k
        self.register_buffer("real_energy", torch.zeros(()), persistent=False)  # L(x) of this round

    def players(self) -> Iterator[Player]:
        """The critic, its lazy penalties, the generator; the round ends with a move of k."""
        critic, *penalties, generator = super().players()
        yield replace(critic, after=self.remember)
        yield from penalties
        yield replace(generator, after=self.rebalance)

    def energy_of(self, x: Tensor, batch: Batch) -> Tensor:
        """(): the mean of L(x)."""
        return -self.critique(x, batch).mean()

    def critic_loss(self, batch: Batch) -> Terms:
        """Restoring reals, and fakes the worse the larger k."""
        x, generated = self.reals(batch), self.fakes(batch)
        real, fake = self.energy_of(x, batch), self.energy_of(generated, batch)
        return {"real": real, "fake": -self.balance * fake} | self.penalised(x, generated, batch)

    def generator_loss(self, batch: Batch) -> Terms:
        """What the critic restores well, and the generator's further wishes."""
        generated = self.fakes(batch)
        fake = self.energy_of(generated, batch)
        terms = {
            "fake": fake,
            "balance": self.balance.clone(),
            "convergence": self.convergence(self.real_energy, fake.detach()),
        }
        return terms | self.wished(batch, generated)

    def convergence(self, real: Tensor, fake: Tensor) -> Tensor:
        """M = L(x) + |diversity L(x) - L(G(z))|."""
        return real + (self.diversity * real - fake).abs()

    def remember(self, terms: Terms) -> None:
        """Keep L(x) until the generator has moved."""
        self.real_energy.copy_(terms["real"])

    def rebalance(self, terms: Terms) -> None:
        """k <- k + step (diversity L(x) - L(G(z))), within [0, 1]."""
        self.balance += self.step * (self.diversity * self.real_energy - terms["fake"])
        self.balance.clamp_(0, 1)

    def validate(self, batch: Batch) -> Terms:
        """M on these examples and as many samples."""
        real, fake = self.energy_of(self.reals(batch), batch), self.energy_of(self.fakes(batch), batch)
        return {"convergence": self.convergence(real, fake)}
