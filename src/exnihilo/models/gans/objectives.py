"""What critic and generator minimise, as functions of the critic's scores alone.

A score s is any number per example or per patch, high for real; where it is a logit, D = sigmoid(s) and
log D = -softplus(-s), log(1 - D) = -softplus(s), which never takes the logarithm of a rounded zero.
"""

from __future__ import annotations

import math
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

#: The generator minimises E log(1 - D) / D, the sum of both: at the best critic KL(q, p), which seeks modes
#: (Arjovsky & Bottou, 2017, arXiv:1701.04862, Theorem 2.5).
density_ratio = Objective(classification, lambda fake, real: -fake.mean())

#: The generator seeks the critic's decision boundary, .5 E (log D - log(1 - D))^2, where p = q: there its gradient
#: ends (Hjelm et al., 2018, arXiv:1702.08431, Eq. 10).
boundary_seeking = Objective(classification, lambda fake, real: 0.5 * fake.square().mean())

#: -E s(x) + E s(G(z)): the critic's gap estimates the Wasserstein-1 distance (Arjovsky et al., 2017, arXiv:1701.07875,
#: Eq. 2). Caution: only while something - a penalty, clipping - keeps the critic 1-Lipschitz.
wasserstein = Objective(lambda real, fake: fake.mean() - real.mean(), lambda fake, real: -fake.mean())

#: The critic stops caring for scores beyond a margin of 1 (Lim & Ye, 2017, arXiv:1705.02894, Eq. 12 and 13).
hinge = Objective(lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda fake, real: -fake.mean())


def smoothed(share: float = 0.9) -> Objective:
    """Reals are called real with probability `share` only, so the critic does not become sure without bound.

    Salimans et al., 2016, arXiv:1606.03498, Section 3.4: one-sided, as smoothed fakes would hold the generator where
    it is. The best critic is log(share p / (q + (1 - share) p)).
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        return classification(real, fake) + (1 - share) * real.mean()  # softplus(s) - softplus(-s) = s

    return Objective(critic, nonsaturating.generator)


def least_squares(fake: float = 0.0, real: float = 1.0, target: float = 1.0) -> Objective:
    """Scores regressed on codes: fakes on `fake`, reals on `real`; the generator wants its own at `target`.

    Mao et al., 2017, arXiv:1611.04076, Eq. 2, with its halves. (-1, 1, 0) makes it Pearson's chi-squared divergence.
    """
    return Objective(
        lambda s_real, s_fake: 0.5 * (s_real - real).square().mean() + 0.5 * (s_fake - fake).square().mean(),
        lambda s_fake, s_real: 0.5 * (s_fake - target).square().mean(),
    )


def margin(gap: float = 1.0) -> Objective:
    """E relu(s(G(z)) - s(x) + gap): each real above a fake by `gap`, and no further.

    Juefei-Xu et al., 2017, arXiv:1704.04865. Scores in the same place of the batch are compared.
    """
    return Objective(lambda real, fake: relu(fake - real + gap).mean(), lambda fake, real: -fake.mean())


def margin_energy(gap: float = 1.0) -> Objective:
    """E e(x) + E relu(gap - e(G(z))) against E e(G(z)), where the score is minus an energy: s = -e, e >= 0.

    Zhao et al., 2017, arXiv:1609.03126, Eq. 1 and 2. Fakes whose energy exceeds `gap` no longer move the critic. At an
    equilibrium the generator draws from the data, and the energy is a constant between 0 and `gap`.
    """
    return Objective(lambda real, fake: relu(gap + fake).mean() - real.mean(), lambda fake, real: -fake.mean())


# -- relativistic ----------------------------------------------------------------------------------------------------

#: Of each score, or of each difference of scores.
Elementwise = Callable[[Tensor], Tensor]


def logistic_cost(difference: Tensor) -> Tensor:
    """-log sigmoid(d)."""
    return softplus(-difference)


def squared_cost(difference: Tensor) -> Tensor:
    """(d - 1)^2."""
    return (difference - 1).square()


def hinge_cost(difference: Tensor) -> Tensor:
    """relu(1 - d)."""
    return relu(1 - difference)


def relativistic(cost: Elementwise = logistic_cost) -> Objective:
    """E cost(s(x) - s(G(z))): the critic tells which of two is the real one; the generator wants it the other way.

    Jolicoeur-Martineau, 2019, arXiv:1807.00734, Eq. 9 and 10. Scores in the same place of the batch are compared.
    """

    def generator(fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None
        return cost(fake - real).mean()

    return Objective(lambda real, fake: cost(real - fake).mean(), generator, paired=True)


def relativistic_average(cost: Elementwise = logistic_cost) -> Objective:
    """E cost(s(x) - E s(G(z))) + E cost(E s(x) - s(G(z))): reals against the mean fake, fakes against the mean real.

    Jolicoeur-Martineau, 2019, arXiv:1807.00734, Eq. 15 and 16; for the generator the roles are swapped. Both means
    carry gradients, so its reals count through the fakes' mean.
    """

    def critic(high: Tensor, low: Tensor) -> Tensor:
        return cost(high - low.mean(dim=0)).mean() + cost(high.mean(dim=0) - low).mean()

    def generator(fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None
        return critic(fake, real)

    return Objective(critic, generator, paired=True)


# -- density ratios --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convex:
    """A convex function h of density ratios r > 0 and its slope: how far an estimate r is from p / q, by its Bregman
    divergence E_q[h(p/q) - h(r) - h'(r) (p/q - r)]."""

    h: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


#: The ratio by least squares.
pearson_ratio = Convex(lambda r: 0.5 * (r - 1).square(), lambda r: r - 1)

#: The ratio by Kullback and Leibler's divergence.
kl_ratio = Convex(lambda r: r * r.log() - r, lambda r: r.log())

#: The ratio by logistic regression: the critic of `minimax`, with D = r / (1 + r).
logistic_ratio = Convex(lambda r: r * r.log() - (1 + r) * r.log1p(), lambda r: r.log() - r.log1p())


def positive(score: Tensor) -> Tensor:
    """The ratio that a score stands for: softplus(s + log(e - 1)), so 1 at s = 0, and no steeper than s."""
    return softplus(score + math.log(math.e - 1)) + 1e-6


def bregman(convex: Convex = pearson_ratio, *, relative: float = 0.0, ratio: Elementwise = positive) -> Objective:
    """E_m[h'(r) r - h(r)] - E_p h'(r) against E_q h(r): the critic estimates a ratio of densities, r = ratio(s).

    Uehara et al., 2016, arXiv:1610.02920, Eq. 6 and 7. The ratio is p / m with m = relative p + (1 - relative) q: of
    data and samples at 0, else bounded by 1 / relative. Caution: the generator's gradient passes through r(G(z)) alone,
    not through the change of q, so it lowers the divergence only step by step with the critic.
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        of_real, of_fake = ratio(real), ratio(fake)
        slope = convex.slope(of_real)
        mixed = (1 - relative) * (convex.slope(of_fake) * of_fake - convex.h(of_fake)).mean()
        if relative:
            mixed = mixed + relative * (slope * of_real - convex.h(of_real)).mean()
        return mixed - slope.mean()

    return Objective(critic, lambda fake, real: convex.h(ratio(fake)).mean())
