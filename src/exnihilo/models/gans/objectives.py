"""What critic and generator minimise, as functions of the critic's scores alone.

A score s is any number per example or per patch, high for real; where it is a logit, D = sigmoid(s) and
log D = -softplus(-s), log(1 - D) = -softplus(s), which never takes the logarithm of a rounded zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Objective:
    """The two sides of an adversarial game, both minimised, each a mean over the batch: () from scores [B, ...].

    Where `paired`, scores of reals and fakes are compared with each other: then the generator's side is given the
    reals' scores as well (they cost it a pass of the critic), otherwise None.
    """

    critic: Callable[[Tensor, Tensor], Tensor]  # (real, fake)
    generator: Callable[[Tensor, Tensor | None], Tensor]  # (fake, real)
    paired: bool = False


def classification(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))): the critic as a classifier. Its minimiser is s(x) = log p(x) / q(x)."""
    return softplus(-real).mean() + softplus(fake).mean()


#: The generator minimises E log(1 - D(G(z))) (Goodfellow et al., 2014, arXiv:1406.2661, Eq. 1). At the best critic the
#: game's value is 2 JSD(p, q) - log 4. Caution: the gradient, -D, dies where the critic is sure.
minimax = Objective(classification, lambda fake, real: -softplus(fake).mean())

#: The generator minimises -E log D(G(z)) (the same, section 3): the same fixed point, and a gradient, D - 1, that is
#: largest where the critic is sure.
nonsaturating = Objective(classification, lambda fake, real: softplus(-fake).mean())

#: -E s(x) + E s(G(z)): the critic's gap estimates the Wasserstein-1 distance (Arjovsky et al., 2017, arXiv:1701.07875,
#: Eq. 2). Caution: only while something - a penalty, clipping - keeps the critic 1-Lipschitz.
wasserstein = Objective(lambda real, fake: fake.mean() - real.mean(), lambda fake, real: -fake.mean())

#: The critic stops caring for scores beyond a margin of 1 (Lim & Ye, 2017, arXiv:1705.02894, Eq. 12 and 13).
hinge = Objective(lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda fake, real: -fake.mean())


def least_squares(fake: float = 0.0, real: float = 1.0, target: float = 1.0) -> Objective:
    """Scores regressed on codes: fakes on `fake`, reals on `real`; the generator wants its own at `target`.

    Mao et al., 2017, arXiv:1611.04076, Eq. 2, with its halves. (-1, 1, 0) makes it Pearson's chi-squared divergence.
    """
    return Objective(
        lambda s_real, s_fake: 0.5 * (s_real - real).square().mean() + 0.5 * (s_fake - fake).square().mean(),
        lambda s_fake, s_real: 0.5 * (s_fake - target).square().mean(),
    )
