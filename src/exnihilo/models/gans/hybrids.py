"""Autoencoders in a game: critics, not entries, say what reconstructions and samples should look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss, softplus

from exnihilo.core import Batch, Conditions, Player, Terms
from exnihilo.models.gans.encoders import EncodedGAN, drawn
from exnihilo.models.gans.family import Slots
from exnihilo.models.gans.latents import Latent
from exnihilo.models.gans.objectives import Objective, density_ratio, nonsaturating
from exnihilo.nets.dcgan import StridedCritic
from exnihilo.nets.mlp import MLP
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.divergences import kl_normal


def two_kinds(objective: Objective) -> Objective:
    """Of fakes half of which are reconstructions and half samples, each half counts like the reals.

    The critic minimises E sp(-s(x)) + E sp(s(G(z | x))) + E sp(s(G(z))), sp = softplus; the generator the sum as well.
    """
    return Objective(
        lambda real, fake: softplus(-real).mean() + 2 * softplus(fake).mean(),
        lambda fake, real: 2 * objective.generator(fake, real),
    )


def divergence(codes: DiagonalNormal) -> Tensor:
    """(): KL(q(z | x) || N(0, I)), summed over the code, a mean over examples, in nats."""
    return kl_normal(codes.mean, codes.log_variance).sum(dim=1).mean()


class AlphaGAN(EncodedGAN):
    """An autoencoder with two critics: s of examples, c of codes; x^ = G(E(x)), x~ = G(z), z ~ N(0, I).

    encoder:      weight E |x - x^| - E c(E(x))
    generator:    weight E |x - x^| - E s(x^) - E s(x~)
    critic:       E sp(-s(x)) + E sp(s(x^)) + E sp(s(x~)),   code critic:  E sp(-c(z)) + E sp(c(E(x))),   sp = softplus.

    Rosca et al., 2017, arXiv:1706.04987, Eq. 19 and Algorithm 1: at its best a critic's score is the logarithm of a
    density ratio, which stands where a variational bound has likelihood and divergence. |x - x^| is a mean over
    entries. Caution: too large a weight blurs, too small a one forgets which example was coded.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        encoder: nn.Module,
        code_critic: nn.Module,
        *,
        latent: Latent | int,
        weight: float = 10.0,
        objective: Objective = density_ratio,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, encoder, latent=latent, objective=two_kinds(objective), **slots)
        self.code_critic, self.code_objective, self.weight = code_critic, objective, weight

    def players(self) -> Iterator[Player]:
        """Encoder, generator, critic, code critic."""
        *critics, generator = super().players()
        yield Player("encoder", self.encoder, self.encoder_loss)
        yield generator
        yield from critics
        yield Player("code_critic", self.code_critic, self.code_critic_loss)

    def fakes(self, batch: Batch) -> Tensor:
        """Reconstructions, then as many samples."""
        return self.shown(self.both(batch))

    def encoder_loss(self, batch: Batch) -> Terms:
        """Codes from which the example can be made again, and which pass for latents."""
        z = self.coded(batch.x)
        distance = (batch.x - self.generate(z, batch)).abs().mean()
        return {"distance": self.weight * distance, "codes": self.code_objective.generator(self.code_critic(z), None)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Reconstructions near the examples; all that it makes passes for examples."""
        made = self.both(batch)
        distance = (batch.x - made[: len(batch)]).abs().mean()
        score = self.critique(self.shown(made), batch)
        return {"distance": self.weight * distance, "adversarial": self.objective.generator(score, None)}

    def code_critic_loss(self, batch: Batch) -> Terms:
        """Telling latents from codes."""
        latents, codes = self.code_critic(self.codes(batch.x)), self.code_critic(self.coded(batch.x))
        return {"adversarial": self.code_objective.critic(latents, codes)}


class VAEGAN(EncodedGAN):
    """A variational autoencoder whose likelihood is of the critic's features f.

    x^ = G(z), z ~ q(z | x);  x~ = G(z), z ~ N(0, I);  sp = softplus
    encoder:    beta KL(q(z | x) || N(0, I)) + L,   L = E |f(x) - f(x^)|^2 / 2 = -E log N(f(x); f(x^), I) + constant
    generator:  gamma L + E sp(-s(x^)) + E sp(-s(x~))
    critic:     E sp(-s(x)) + E sp(s(x^)) + E sp(s(x~)).

    Larsen et al., 2016, arXiv:1512.09300, Eq. 7-9 and Algorithm 1, the generator in its non-saturating form. The critic
    never sees L, or it would make all features alike; the encoder never sees the scores. Sums over features and codes.
    Caution: the scale of the features is the critic's affair, and with it how much of x the code must hold.
    """

    critic: StridedCritic | MLP

    def __init__(
        self,
        generator: nn.Module,
        critic: StridedCritic | MLP,
        encoder: nn.Module,
        *,
        latent: Latent | int,
        gamma: float = 1e-2,
        beta: float = 1.0,
        **slots: Unpack[Slots],
    ):
        super().__init__(
            generator,
            critic,
            encoder,
            latent=latent,
            family=DiagonalNormal.of,
            objective=two_kinds(nonsaturating),
            **slots,
        )
        self.gamma, self.beta = gamma, beta

    def players(self) -> Iterator[Player]:
        """Encoder, generator, critic."""
        *critics, generator = super().players()
        yield Player("encoder", self.encoder, self.encoder_loss)
        yield generator
        yield from critics

    def fakes(self, batch: Batch) -> Tensor:
        """Reconstructions, then as many samples."""
        return self.shown(self.both(batch))

    def unlikeness(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        """(): L."""
        return 0.5 * (self.critic.features(x) - self.critic.features(rebuilt)).square().sum(dim=1).mean()

    def encoder_loss(self, batch: Batch) -> Terms:
        """Minus the bound of a variational autoencoder, in the critic's features."""
        codes = DiagonalNormal.of(self.encoder(batch.x))
        rebuilt = self.generate(drawn(codes), batch)
        return {"reconstruction": self.unlikeness(batch.x, rebuilt), "divergence": self.beta * divergence(codes)}

    def generator_loss(self, batch: Batch) -> Terms:
        """Reconstructions with the examples' features; all that it makes passes for examples."""
        made = self.both(batch)
        unlikeness = self.unlikeness(batch.x, made[: len(batch)])
        score = self.critique(self.shown(made), batch)
        return {"reconstruction": self.gamma * unlikeness, "adversarial": self.objective.generator(score, None)}


REAL, REBUILT, SAMPLED = range(3)  # answers of a critic of three


class IAN(EncodedGAN):
    """A critic of three answers, on whose features codes are read.

    x^ = G(z), z ~ q(z | x);  x~ = G(z), z ~ N(0, I)
    critic:                H(x, real) + H(x^, rebuilt) + H(x~, sampled),  H the cross-entropy of its answers [B, 3]
    generator and reader:  H(x^, real) + H(x~, real) + pixels E |x - x^| + features mean_l E (f_l(x) - f_l(x^))^2
                           + kl KL(q(z | x) || N(0, I))

    Brock et al., 2017, arXiv:1609.07093, Section 3.1: the encoder is introspective, a small reader of the critic's
    features, so what it knows of examples it learnt as a critic. f_l are the critic's hidden layers. Means over
    entries, sums over codes. As a score it has the log-odds of real. Caution: codes move as long as the critic does.
    """

    critic: StridedCritic | MLP

    def __init__(
        self,
        generator: nn.Module,
        critic: StridedCritic | MLP,
        introspection: Introspection,
        reader: nn.Module,
        *,
        latent: Latent | int,
        pixels: float = 10.0,
        features: float = 1.0,
        kl: float = 1e-2,
        **slots: Unpack[Slots],
    ):
        super().__init__(
            generator, critic, nn.Sequential(introspection, reader), latent=latent, family=DiagonalNormal.of, **slots
        )
        self.reader, self.pixels, self.features, self.kl = reader, pixels, features, kl

    def players(self) -> Iterator[Player]:
        """The critic, its lazy penalties, and generator and reader together."""
        *critics, generator = super().players()
        yield from critics
        yield replace(generator, module=nn.ModuleList([self.generator, self.reader]))

    def critique(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        """[B] log D(real | x) / (1 - D(real | x))."""
        answers = self.critic(x)
        return answers[:, REAL] - answers[:, REBUILT:].logsumexp(dim=1)

    def fakes(self, batch: Batch) -> Tensor:
        """Reconstructions, then as many samples."""
        return self.shown(self.both(batch))

    def critic_loss(self, batch: Batch) -> Terms:
        """Naming reals, reconstructions and samples, and the penalties of every update."""
        x, made = self.reals(batch), self.fakes(batch)
        real, (rebuilt, sampled) = self.critic(x), self.critic(made).chunk(2)
        right = torch.stack(
            [(part.argmax(dim=1) == kind).float().mean() for kind, part in enumerate((real, rebuilt, sampled))]
        )
        terms = {
            "adversarial": named(real, REAL) + named(rebuilt, REBUILT) + named(sampled, SAMPLED),
            "accuracy": right.mean(),
        }
        return terms | self.penalised(x, made, batch)

    def generator_loss(self, batch: Batch) -> Terms:
        """All that is made passes for real; what is made again is like the example."""
        codes = DiagonalNormal.of(self.encoder(batch.x))
        rebuilt, sampled = self.generate(drawn(codes), batch), self.generate(self.codes(batch.x), batch)
        pairs = zip(hidden(self.critic, batch.x), hidden(self.critic, rebuilt), strict=True)
        terms = {
            "adversarial": named(self.critic(self.shown(rebuilt)), REAL)
            + named(self.critic(self.shown(sampled)), REAL),
            "pixels": self.pixels * (batch.x - rebuilt).abs().mean(),
            "features": self.features * torch.stack([mse_loss(fake, real) for real, fake in pairs]).mean(),
            "divergence": self.kl * divergence(codes),
        }
        return terms | {name: content(self.critic, batch.x, rebuilt) for name, content in self.contents.items()}


class Introspection(nn.Module):
    """What a critic sees of x, all its hidden layers side by side: [B, *shape] -> [B, size]; maps at 4 x 4 places.

    Its last layer alone would not do: it keeps little but what tells reals from fakes.
    """

    def __init__(self, critic: StridedCritic | MLP, shape: tuple[int, ...]):
        super().__init__()
        self.critic = critic
        with torch.no_grad():
            self.size = self(torch.zeros(1, *shape)).shape[1]

    def forward(self, x: Tensor) -> Tensor:
        layers = hidden(self.critic, x)
        return torch.cat([(adaptive_avg_pool2d(h, 4) if h.ndim == 4 else h).flatten(1) for h in layers], dim=1)


def named(answers: Tensor, kind: int) -> Tensor:
    """(): the cross-entropy of answers [B, kinds] where every example is of one kind."""
    return -answers.log_softmax(dim=1)[:, kind].mean()


def hidden(critic: StridedCritic | MLP, x: Tensor) -> list[Tensor]:
    """What a critic's layers make of x, after every nonlinearity."""
    kept = []
    for layer in critic.layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU | nn.ReLU):
            kept.append(x)
    return kept
