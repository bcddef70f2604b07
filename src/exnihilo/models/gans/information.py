"""A game whose generator is made to keep part of its latents readable in what it makes."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exnihilo.core import Batch, Terms
from exnihilo.models.gans.family import GAN, Slots, watched
from exnihilo.models.gans.latents import Codes
from exnihilo.models.gans.networks import leaky
from exnihilo.models.gans.objectives import Objective, nonsaturating

READING = 128  # hidden units between the shared layers and what is read
LOWEST = -6.0  # log-variance of a continuous code; without a floor its likelihood has none


class ReadingCritic(nn.Module):
    """One network that scores x and reads its codes, Q(c | x), with a hidden layer of the reader's own.

    network: [B, *shape] -> [B, 1 + READING]. The answer about the codes [B, answers]: logits of every category, then
    means and log-variances of the continuous codes.
    """

    def __init__(self, network: nn.Module, codes: Codes):
        super().__init__()
        self.network = network
        self.reader = nn.Sequential(leaky(), nn.Linear(READING, sum(codes.categories) + 2 * codes.continuous))

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(scores [B, 1], answers about the codes)."""
        h = self.network(x)
        return h[:, :1], self.reader(h[:, 1:])

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)[0]


def normal_cost(answers: Tensor, values: Tensor) -> Tensor:
    """[B] -log N(values; mean, variance) in nats, summed over values [B, C]; answers [B, 2C] are means, log-variances.

    Caution: the floor of the log-variance bounds it from below.
    """
    mean, log_variance = answers.chunk(2, dim=1)
    log_variance = log_variance.clamp(min=LOWEST)
    squares = (values - mean).square() * torch.exp(-log_variance)
    return 0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(dim=1)


def category_costs(codes: Codes, answers: Tensor, z: Tensor) -> Tensor:
    """[categories, B] -log Q(c | x) of each categorical code of z, in nats; H(c) less its mean is the bound L_I."""
    places = [codes.parts[f"category {number}"] for number in range(len(codes.categories))]
    costs = [cross_entropy(answers[:, place], z[:, place].argmax(dim=1), reduction="none") for place in places]
    return torch.stack(costs) if costs else z.new_zeros(0, len(z))


class InfoGAN(GAN):
    """min_{G,Q} max_D  V(D, G) - lambda L_I(G, Q),  L_I = E_{c, x ~ G(c, z)} [log Q(c | x)] + H(c)  <=  I(c; G(c, z)).

    Chen et al., 2016, arXiv:1606.03657, Eq. 5 and 6; H(c) is constant. The reader Q learns in the critic's turn, with
    the layers it shares, and the generator in its own; both minimise -lambda log Q of the fakes' codes. `weight` is
    lambda for categories, `continuous_weight` for continuous codes. Caution: which category becomes which kind of
    example is open, and nothing says that categories become the classes a person would make.
    """

    withdrawn = frozenset({"reconstruct"})  # the noise is not read
    critic: ReadingCritic
    latent: Codes

    def __init__(
        self,
        generator: nn.Module,
        critic: ReadingCritic,
        *,
        latent: Codes,
        weight: float = 1.0,
        continuous_weight: float = 0.1,
        objective: Objective = nonsaturating,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, objective=objective, **slots)
        self.weight, self.continuous_weight = weight, continuous_weight

    def unread(self, answers: Tensor, z: Tensor) -> Terms:
        """-lambda log Q of the codes z, a mean over the batch, and the bound L_I on what categories tell, in nats."""
        codes = self.latent
        costs = category_costs(codes, answers, z).mean(dim=1)  # [categories]
        split = sum(codes.categories)
        numbers = normal_cost(answers[:, split:], z[:, codes.parts["continuous"]]).mean()
        entropy = sum(math.log(values) for values in codes.categories)
        return {
            "categories": self.weight * costs.sum(),
            "continuous": self.continuous_weight * numbers,
            "information": entropy - costs.detach().sum(),
        }

    def critic_loss(self, batch: Batch) -> Terms:
        z, x = self.codes(batch.x), self.reals(batch)
        generated = self.shown(self.generate(z, batch))
        real, (fake, answers) = self.critic(x), self.critic.both(generated)
        terms = {"adversarial": self.objective.critic(real, fake), **watched(real, fake)}
        return terms | self.unread(answers, z) | self.penalised(x, generated, batch)

    def generator_loss(self, batch: Batch) -> Terms:
        z = self.codes(batch.x)
        fake, answers = self.critic.both(self.shown(self.generate(z, batch)))
        return {"adversarial": self.objective.generator(fake, None), **self.unread(answers, z)}

    # -- what it can do ------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, width] the codes that are read: chances of categories, means of continuous codes, and noise 0."""
        codes, answers = self.latent, self.critic.both(x)[1]
        split = sum(codes.categories)
        chances = [part.softmax(dim=1) for part in answers[:, :split].split(codes.categories, dim=1)]
        means = answers[:, split : split + codes.continuous].clamp(-1, 1)
        return torch.cat([*chances, means, x.new_zeros(len(x), codes.noise)], dim=1)

    @property
    def code_names(self) -> tuple[str, ...]:
        """`category 0 = 3`, `continuous 1`, `noise 12`."""
        return self.latent.names

    def clusters(self, x: Tensor, category: int = 0) -> Tensor:
        """[B, K] log Q(c | x) of one categorical code."""
        place = self.latent.parts[f"category {category}"]
        return self.critic.both(x)[1][:, place].log_softmax(dim=1)
