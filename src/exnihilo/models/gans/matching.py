"""An autoencoder told the class, whose generator is taught by means of features instead of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, Player, Terms
from exnihilo.models.gans.classes import class_cost
from exnihilo.models.gans.conditions import TAKEN, Told, partly_hidden
from exnihilo.models.gans.encoders import drawn
from exnihilo.models.gans.family import GAN, Slots
from exnihilo.models.gans.hybrids import divergence
from exnihilo.models.gans.latents import Latent
from exnihilo.nets.dcgan import StridedCritic
from exnihilo.nets.mlp import MLP
from exnihilo.probability.distributions import DiagonalNormal


class MeanMatching(nn.Module):
    """sum_g |m_g - m~_g|^2 / 2 over groups g, m_g and m~_g the running means of features of reals and of fakes.

    Bao et al., 2017, arXiv:1703.10155, Eq. 3 and 5. Only means are compared: fakes may differ as much as reals do,
    while each drawn to its group's centre would lose what tells members of a group apart. A batch holds few of a
    group, so sums and counts are averaged over batches (`horizon` of them), with the gradient of the last.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, groups: int, size: int, horizon: float = 10.0):
        super().__init__()
        self.keep = 1 - 1 / horizon
        self.register_buffer("sums", torch.zeros(2, groups, size), persistent=False)  # of reals, of fakes
        self.register_buffer("counts", torch.zeros(groups), persistent=False)

    def forward(self, real: Tensor, fake: Tensor, group: Tensor) -> Tensor:
        """(): from features [B, size] each and the groups of both [B, groups], 1 where a row belongs, else 0."""
        sums = self.keep * self.sums + (1 - self.keep) * torch.stack([group.T @ real.detach(), group.T @ fake])
        counts = self.keep * self.counts + (1 - self.keep) * group.sum(dim=0)
        if self.training:
            self.sums.copy_(sums.detach())
            self.counts.copy_(counts)
        means = sums / counts.clamp(min=1e-6)[:, None]
        return 0.5 * (means[0] - means[1]).square().sum()


class ConditionalEncoder(nn.Module):
    """q(z | x, asked) as numbers: network(x, told), the network one that takes a vector beside (`nets.joined`)."""

    def __init__(self, network: nn.Module, told: Told):
        super().__init__()
        self.network, self.told = network, told

    def forward(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        return self.network(x, self.told(len(x), asked))


class CVAEGAN(GAN):
    """A variational autoencoder told the class c, and a generator that matches means of features.

    x^ = G(z, c), z ~ q(z | x, c);  x~ = G(z, c), z ~ N(0, I);  sp = softplus
    L = E (|x - x^|^2 + |f(x) - f(x^)|^2 + |h(x) - h(x^)|^2) / 2,  f, h the last hidden layers of critic and classifier
    encoder:     kl KL(q(z | x, c) || N(0, I)) + L
    generator:   L + means (|E f(x) - E f(x~)|^2 + sum_c |E_c h(x) - E_c h(x~)|^2) / 2
    critic:      E sp(-s(x)) + E sp(s(x~)),   classifier:  -E log p(c | x).

    Bao et al., 2017, arXiv:1703.10155, Eq. 2-6. Classes are in shares alike among x and x~. Sums over entries, features
    and codes. The classifier learns from reals alone. Caution: where it is sure its features are large, and so is L.
    """

    coupled, takes = True, TAKEN
    critic: StridedCritic | MLP

    def __init__(
        self,
        generator: nn.Module,
        critic: StridedCritic | MLP,
        encoder: nn.Module,
        classifier: StridedCritic | MLP,
        *,
        latent: Latent | int,
        classes: int,
        kl: float = 3.0,
        means: float = 1e-3,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, conditional=True, **slots)
        self.encoder, self.classifier = encoder, classifier
        self.classes, self.kl, self.means = classes, kl, means
        self.overall = MeanMatching(1, critic.feature_size)
        self.of_classes = MeanMatching(classes, classifier.feature_size)

    def players(self) -> Iterator[Player]:
        """Encoder, generator with the means it watches, critic, classifier."""
        *critics, generator = super().players()
        yield Player("encoder", self.encoder, self.encoder_loss)
        yield replace(generator, module=nn.ModuleList([self.generator, self.overall, self.of_classes]))
        yield from critics
        yield Player("classifier", self.classifier, self.classifier_loss)

    def critique(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        """s(x): the critic is not told the class, the classifier says it."""
        return self.critic(x)

    def unlikeness(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        """(): L."""
        pairs = [(x, rebuilt)]
        pairs += [(net.features(x), net.features(rebuilt)) for net in (self.critic, self.classifier)]
        return torch.stack([0.5 * (a - b).flatten(1).square().sum(dim=1).mean() for a, b in pairs]).sum()

    def encoder_loss(self, batch: Batch) -> Terms:
        """Codes from which the example can be made again, given its class."""
        batch = partly_hidden(batch)
        codes = DiagonalNormal.of(self.encoder(batch.x, batch))
        rebuilt = self.generate(drawn(codes), batch)
        return {"reconstruction": self.unlikeness(batch.x, rebuilt), "divergence": self.kl * divergence(codes)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Reconstructions like the examples; samples whose features have the means of examples."""
        asked = partly_hidden(batch)
        rebuilt = self.generate(drawn(DiagonalNormal.of(self.encoder(batch.x, asked))), asked)
        sampled = self.generate(self.codes(batch.x), asked)
        f_real, f_fake = self.critic.features(batch.x), self.critic.features(sampled)
        h_real, h_fake = self.classifier.features(batch.x), self.classifier.features(sampled)
        assert asked.label is not None
        group = (asked.label[:, None] == torch.arange(self.classes, device=batch.x.device)).to(batch.x)
        return {
            "reconstruction": self.unlikeness(batch.x, rebuilt),
            "mean": self.means * self.overall(f_real, f_fake, torch.ones_like(group[:, :1])),
            "class_means": self.means * self.of_classes(h_real, h_fake, group),
        }

    def classifier_loss(self, batch: Batch) -> Terms:
        """The cross-entropy of reals whose class is known."""
        return {"cross_entropy": class_cost(self.classifier(batch.x), batch.label)}

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(c | x)."""
        return self.classifier(x).log_softmax(dim=1)

    def known(self, x: Tensor, label: Tensor | None) -> Conditions:
        """The class as given, or as the classifier has it."""
        return Conditions(label=self.classify(x).argmax(dim=1) if label is None else label)

    def encode(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B, latent] the mean of q(z | x, c); without a class, of the likeliest."""
        return DiagonalNormal.of(self.encoder(x, self.known(x, label))).mean

    def reconstruct(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """x coded and made again as an example of its class; without one, of the likeliest."""
        asked = self.known(x, label)
        return self.generate(self.encode(x, label=asked.label), asked)
