"""Games whose critic names classes as well: it classifies from few labels, and sharpens what the generator makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exnihilo.core import Batch, Conditions, DataSpec, Terms
from exnihilo.models.gans.conditions import TAKEN, partly_hidden
from exnihilo.models.gans.family import GAN, Slots, watched
from exnihilo.models.gans.latents import Latent
from exnihilo.models.gans.networks import channels, critic_for
from exnihilo.models.gans.objectives import Objective, nonsaturating
from exnihilo.models.gans.tricks import HeadedCritic
from exnihilo.nets.dcgan import StridedCritic
from exnihilo.nets.mlp import MLP


@dataclass(frozen=True)
class Head:
    """How the critic's outputs [B, M] are read."""

    score: Callable[[Tensor], Tensor]  # [B] high for real
    classes: Callable[[Tensor], Tensor] | None  # [B, K] logits; None: it names no classes


#: The first output is the score, the others are classes (Odena et al., 2017, arXiv:1610.09585).
separate = Head(lambda h: h[:, 0], lambda h: h[:, 1:])

#: K classes of reals, and the fakes as one more whose logit is 0: D = Z / (Z + 1) with Z = sum_k e^{l_k}, so that
#: s = log D / (1 - D) = log Z (Salimans et al., 2016, arXiv:1606.03498, Section 5).
one_more = Head(lambda h: h.logsumexp(dim=1), lambda h: h)

#: One output, the score.
alone = Head(lambda h: h[:, 0], None)

#: The class that each fake should be of, [B] from what was asked [B] and the critic's logits [B, K].
Target = Callable[[Tensor | None, Tensor], Tensor]


def asked_class(label: Tensor | None, logits: Tensor) -> Tensor:
    """The one that the generator was asked for."""
    assert label is not None
    return label


def likeliest_class(label: Tensor | None, logits: Tensor) -> Tensor:
    """The one it looks most like (dynamic labelling; Zhou et al., 2018, arXiv:1703.02000, Section 3.3)."""
    return logits.argmax(dim=1)


def class_cost(logits: Tensor, label: Tensor | None) -> Tensor:
    """-log p(label | x) in nats, a mean over the examples whose class is known; 0 where it is of none."""
    if label is None:
        return logits.sum() * 0.0
    known = (label >= 0).sum().clamp(min=1)
    return cross_entropy(logits, label, ignore_index=-1, reduction="sum") / known


def naming_critic_for(
    data: DataSpec, width: int, outputs: int, *, kernels: int = 0, bounded: bool = False
) -> HeadedCritic:
    """[B, *data.shape] -> [B, outputs]; with so many `kernels` of minibatch discrimination.

    Of pictures however small: convolutions, whose layers are normalised by example. Spectral normalisation bounds the
    logits, so that class terms never end, and holds the score so small that they drown it - all samples of a class
    become one. `bounded`: so are fully connected ones, whose logits then do not grow with the distance from the data.
    """
    network: StridedCritic | MLP
    if data.kind == "image":
        network = StridedCritic(data.shape, channels(width), outputs=width, normalisation="layer")
    else:
        network = critic_for(data, width, outputs=width, normalisation="layer" if bounded else "none")
    return HeadedCritic(network, width, outputs, kernels)


class ClassGAN(GAN):
    """A critic with a score s and class logits l:

    the critic minimises    objective.critic(s(x), s(x~)) + weight CE(l(x), y) [+ weight CE(l(x~), y~)] + penalties,
    the generator           objective.generator(s(x~)) [+ weight CE(l(x~), target)] + contents.

    `of_fakes`: the critic learns the classes of fakes too; `target`: what the generator's fakes should be. Examples of
    class -1 count as real only, so a few labels are enough to classify. With `one_more` the sum of CE and softplus(-s)
    is the cross-entropy of K + 1 classes. Caution: the class terms reward samples that are easily told apart, so those
    between classes vanish (Shu et al., 2017).
    """

    coupled = True  # class costs are means over those whose class is known, features are matched in their means

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        head: Head,
        target: Target | None = None,
        of_fakes: bool = False,
        weight: float = 1.0,
        latent: Latent | int,
        objective: Objective = nonsaturating,
        conditional: bool = False,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, objective=objective, conditional=conditional, **slots)
        self.head, self.target, self.of_fakes, self.weight = head, target, of_fakes, weight
        self.withdrawn = frozenset() if head.classes else frozenset({"classify"})
        self.takes = TAKEN if conditional else frozenset()

    def critique(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        """s(x): of what is asked the critic is not told."""
        return self.head.score(self.critic(x))

    def critic_loss(self, batch: Batch) -> Terms:
        asked = partly_hidden(batch) if self.conditional else batch
        x, generated = self.reals(batch), self.fakes(asked)
        of_real, of_fake = self.critic(x), self.critic(generated)
        real, fake = self.head.score(of_real), self.head.score(of_fake)
        terms = {"adversarial": self.objective.critic(real, fake), **watched(real, fake)}
        if self.head.classes is not None:
            terms["classes"] = self.weight * class_cost(self.head.classes(of_real), batch.label)
            if self.of_fakes:
                terms["classes_of_fakes"] = self.weight * class_cost(self.head.classes(of_fake), asked.label)
        return terms | self.penalised(x, generated, batch)

    def generator_loss(self, batch: Batch) -> Terms:
        asked = partly_hidden(batch) if self.conditional else batch
        generated = self.fakes(asked)
        of_fake = self.critic(generated)
        x = self.reals(batch)
        real = self.critique(x, batch) if self.objective.paired else None
        terms = {"adversarial": self.objective.generator(self.head.score(of_fake), real)}
        if self.head.classes is not None and self.target is not None:
            logits = self.head.classes(of_fake)
            terms["classes"] = self.weight * class_cost(logits, self.target(asked.label, logits))
        return terms | {name: content(self.critic, x, generated) for name, content in self.contents.items()}

    def classify(self, x: Tensor) -> Tensor:
        """[B, K] log p(class | x, real)."""
        if self.head.classes is None:
            return super().classify(x)
        return self.head.classes(self.critic(x)).log_softmax(dim=1)


# -- no class for fakes ----------------------------------------------------------------------------------------------


def entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(H(mean_b p_b), mean_b H(p_b)) in nats, of p = softmax(logits [B, K]): of the classes' shares, and of each."""
    log_p = logits.log_softmax(dim=1)
    log_share = log_p.logsumexp(dim=0) - math.log(len(logits))  # [K]
    return -(log_share.exp() * log_share).sum(), -(log_p.exp() * log_p).sum(dim=1).mean()


def _certain_of_reals(real: Tensor, fake: Tensor) -> Tensor:
    shares, each = entropies(real)
    return each - shares - entropies(fake)[1]


def _certain_of_fakes(fake: Tensor, real: Tensor | None) -> Tensor:
    shares, each = entropies(fake)
    return each - shares


#: max_D  H(E_x p) - E_x H(p) + E_z H(p),  min_G  -H(E_z p) + E_z H(p),  p the critic's K classes: sure of each real,
#: unsure of fakes, all classes in use (Springenberg, 2016, arXiv:1511.06390, Eq. 7 to 9). At most 2 log K.
categorical = Objective(_certain_of_reals, _certain_of_fakes)


class CatGAN(GAN):
    """`categorical` on a critic of K logits, and weight CE(l(x), y) where labels are known.

    Springenberg, 2016, arXiv:1511.06390, Eq. 7 to 10: without labels it clusters, with few it classifies. weight = 0:
    no label is looked at. Caution: shares of a batch are rougher than of the data, so batches must hold several
    examples of each class; and which clusters it finds is its own affair.
    """

    coupled = True

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        weight: float,
        latent: Latent | int,
        **slots: Unpack[Slots],
    ):
        super().__init__(generator, critic, latent=latent, objective=categorical, **slots)
        self.weight = weight
        self.withdrawn = frozenset() if weight else frozenset({"classify"})

    def critique(self, x: Tensor, asked: Batch | Conditions) -> Tensor:
        """-H(p(k | x)): how sure it is of x, which penalties keep smooth."""
        log_p = self.critic(x).log_softmax(dim=1)
        return (log_p.exp() * log_p).sum(dim=1)

    def critic_loss(self, batch: Batch) -> Terms:
        x, generated = self.reals(batch), self.fakes(batch)
        real, fake = self.critic(x), self.critic(generated)
        terms = {
            "adversarial": self.objective.critic(real, fake),
            "classes_in_use": entropies(real)[0].exp().detach(),
            "unsure/real": entropies(real)[1].detach(),
            "unsure/fake": entropies(fake)[1].detach(),
        }
        if self.weight:
            terms["classes"] = self.weight * class_cost(real, batch.label)
        return terms | self.penalised(x, generated, batch)

    def generator_loss(self, batch: Batch) -> Terms:
        return {"adversarial": self.objective.generator(self.critic(self.fakes(batch)), None)}

    def clusters(self, x: Tensor) -> Tensor:
        """[B, K] log p(k | x)."""
        return self.critic(x).log_softmax(dim=1)

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(class | x), where labels were looked at."""
        return self.clusters(x) if self.weight else super().classify(x)
