"""Adversarial networks of discrete data: the generator gives distributions, and learns from weighted draws."""

from __future__ import annotations

from typing import Unpack, final

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from exnihilo.core import NOTHING, Batch, Conditions, DataSpec, Noise, Terms
from exnihilo.models.gans.family import GAN, Slots
from exnihilo.models.gans.latents import Latent
from exnihilo.models.gans.networks import channels, connected
from exnihilo.models.gans.objectives import boundary_seeking
from exnihilo.nets.dcgan import StridedGenerator
from exnihilo.nets.layers import Reshape


def weighted_log_prob(score: Tensor, log_prob: Tensor) -> Tensor:
    """(): -E_z sum_m w_m log g(x_m | z), with w_m proportional to e^s(x_m) over the M draws of a latent; both [M, B].

    Hjelm et al., 2018, arXiv:1702.08431, Eq. 7 and 8. e^s estimates p / q, so this is the cross entropy with the data's
    distribution, by importance sampling from the generator; no gradient passes through the weights. Caution: one draw
    may take all the weight while the critic is sure, and then M draws are worth one.
    """
    return -(score.softmax(dim=0).detach() * log_prob).sum(dim=0).mean()


def logits_for(data: DataSpec, latent: int, width: int) -> nn.Module:
    """[B, latent] -> [B, levels, *data.shape]: an unnormalised log-probability for each level of each entry."""
    shape = (data.levels, *data.shape)
    if data.kind != "image":
        return connected(data, (latent,), shape, width)
    stacked = (data.levels * data.shape[0], *data.shape[1:])
    return nn.Sequential(StridedGenerator(latent, stacked, channels(width)), Reshape(*shape))


@final
class DiscreteGAN(GAN):
    """The generator gives each entry's distribution over its levels, g(x | z) = prod_i softmax(logits(z))_i, minimises

    -E_z sum_m w_m log g(x_m | z),  x_1 ... x_M ~ g(. | z),  w_m = e^s(x_m) / sum_j e^s(x_j).

    Hjelm et al., 2018, arXiv:1702.08431, Algorithm 1: no slope of the critic is needed at its draws. generator:
    [B, latent] -> logits [B, levels, *shape]. Levels reach the critic as they are. Caution: entries are independent
    given z, so whatever they share must be in z.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: Latent | int,
        draws: int = 20,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, objective=boundary_seeking, **slots)
        self.draws = draws

    def shown(self, x: Tensor) -> Tensor:
        """Levels as they are."""
        return x

    def levels(self, z: Tensor) -> Categorical:
        """The distribution of every entry's level, [B, *shape]."""
        return Categorical(logits=self.generator(z).movedim(1, -1), validate_args=False)

    def generate(self, z: Tensor, asked: Batch | Conditions) -> Tensor:
        """[B, *shape] the mean of g(x | z)."""
        values = self.spec.from_levels(torch.arange(self.spec.levels, device=z.device))
        return self.levels(z).probs @ values.to(z)

    def fakes(self, batch: Batch) -> Tensor:
        """A draw for each latent."""
        return self.spec.from_levels(self.levels(self.codes(batch.x)).sample()).to(batch.x)

    def generator_loss(self, batch: Batch) -> Terms:
        """The weighted log-probability of M draws for each latent."""
        levels = self.levels(self.codes(batch.x))
        drawn = levels.sample((self.draws,))  # [M, B, *shape]
        log_prob = levels.log_prob(drawn).flatten(2).sum(dim=2)  # [M, B]
        x = self.spec.from_levels(drawn.flatten(0, 1)).to(batch.x)
        score = self.critique(x, batch).view_as(log_prob)
        weight = score.detach().softmax(dim=0)
        effective = 1 / weight.square().sum(dim=0).mean()
        return {"adversarial": weighted_log_prob(score, log_prob), "effective draws": effective}

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Levels drawn from g(x | z)."""
        levels = self.levels(self.draw_code(noise, asked))
        return self.spec.from_levels(noise.categorical(levels.logits))
