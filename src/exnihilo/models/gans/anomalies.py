"""Games that judge: what a generator of the usual cannot make is unusual."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from exnihilo.models.gans.family import GAN, Slots
from exnihilo.models.gans.latents import Latent
from exnihilo.models.projector import Projector
from exnihilo.nets.dcgan import StridedCritic
from exnihilo.nets.mlp import MLP


class AnoGAN(GAN):
    """A game on usual examples; an example's code is where the generator comes nearest to it:

    E(x) = argmin_z A(x, G(z)) + c |z|^2,   A(x, x^) = (1 - share) |x - x^| + share |f(x) - f(x^)|.

    Schlegl et al., 2017, arXiv:1703.05921, Eq. 2-6: A is the anomaly score, `residual`, and f the critic's last hidden
    layer. Both distances are means over entries here, the second relative to the mean size of f(x), so that `share`
    means the same for all data and critics. The projection, which has no encoder, is the `projector`'s. Caution: a
    code costs hundreds of passes.
    """

    critic: StridedCritic | MLP

    def __init__(
        self,
        generator: nn.Module,
        critic: StridedCritic | MLP,
        *,
        latent: Latent | int,
        projector: Projector,
        share: float = 0.1,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, **slots)
        self.projector, self.share = projector, share

    def residual(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        """[B] A(x, x^)."""
        pixels = (x - rebuilt).abs().flatten(1).mean(dim=1)
        seen, remade = self.critic.features(x), self.critic.features(rebuilt)
        size = seen.detach().abs().mean(dim=1).clamp(min=1e-6)
        return (1 - self.share) * pixels + self.share * (seen - remade).abs().mean(dim=1) / size

    def encode(self, x: Tensor) -> Tensor:
        """[B, latent] E(x); of equal examples at equal places of a batch the same, whatever the others are."""
        return self.projector.project(self, x).codes
