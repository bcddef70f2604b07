"""f-divergences D(p, q) = E_q f(p / q) as adversarial objectives, with all that a critic needs to bound them.

Every convex f with f(1) = 0 (the GAN's own: f(1) = -2 log 2) gives, with its conjugate f*(t) = sup_u [u t - f(u)],

    D(p, q) >= E_p T - E_q f*(T)    with equality at T = f'(p / q)

(Nguyen et al., 2010; Nowozin et al., 2016, arXiv:1606.00709, Eq. 4). The critic's score v is any number; an activation
T = g(v) takes it into the domain of f*. All activations here grow with v, so a large score means real.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from exnihilo.models.gans.objectives import Objective

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Formulas:
    """A divergence as it is written."""

    generator: str  # f(u)
    conjugate: str  # f*(t)
    domain: str  # of f*
    activation: str  # g(v)
    best: str  # T = f'(u)


@dataclass(frozen=True)
class Divergence:
    """One row of the table: all functions are elementwise, on u > 0, on t of the domain, on any v.

    `composite` is f*(g(v)) worked out on paper: chained, exponentials and logarithms of large scores would overflow.
    """

    name: str
    written: Formulas
    generator: Elementwise  # f(u)
    slope: Elementwise  # f'(u), the best critic's T where u = p / q
    conjugate: Elementwise  # f*(t)
    activation: Elementwise  # g(v)
    composite: Elementwise  # f*(g(v))
    domain: tuple[float, float] = (-math.inf, math.inf)  # of t

    @property
    def threshold(self) -> float:
        """f'(1): T above it says that x is likelier under p than under q."""
        return float(self.slope(torch.ones((), dtype=torch.float64)))

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """(): E g(s(x)) - E f*(g(s(G(z)))), at most the divergence, from scores [B, ...]."""
        return self.activation(real).mean() - self.composite(fake).mean()

    def objective(self, *, alternative: bool = False, limit: float = math.inf) -> Objective:
        """The critic raises the bound. The generator lowers it, -E f*(g(s)), or raises E g(s) instead.

        alternative: Nowozin et al., 2016, Section 3.2, as the nonsaturating game is to the minimax one: the same fixed
        point, and a gradient also where the critic is sure. limit: scores are bent into (-limit, limit), since some
        rows grow like e^s; the bound still holds, and is tight while log p / q stays well inside.
        """

        def bent(score: Tensor) -> Tensor:
            return limit * (score / limit).tanh() if limit < math.inf else score

        def generator(fake: Tensor, real: Tensor | None) -> Tensor:
            return -(self.activation if alternative else self.composite)(bent(fake)).mean()

        return Objective(lambda real, fake: -self.bound(bent(real), bent(fake)), generator)


# -- what some rows need ---------------------------------------------------------------------------------------------


def wright_omega_log(y: Tensor, steps: int = 8) -> Tensor:
    """log w where w + log w = y, so that w = W(e^y), Lambert's function, without ever forming e^y.

    Newton's steps from log softplus(y), which lies above the root, come down to it without overshooting. They carry no
    gradient; one more, with the root held fixed, has the exact derivative 1 / (1 + w).
    """
    with torch.no_grad():
        root = torch.where(y < -10, y, softplus(y.clamp(min=-10)).log())
        for _ in range(steps):
            root = root - (root + root.exp() - y) / (1 + root.exp())
    return root - (root + root.exp() - y) / (1 + root.exp())


def log_softplus(v: Tensor) -> Tensor:
    """log log(1 + e^v), which is v where v is small."""
    return torch.where(v < -15, v, softplus(v.clamp(min=-15)).log())


def jeffrey_conjugate(t: Tensor) -> Tensor:
    """1 / w - log w - 1 with w = W(e^(1-t)): w + 1 / w + t - 2 without its cancellation. Its derivative is 1 / w."""
    log_w = wright_omega_log(1 - t)
    return (-log_w).exp() - log_w - 1


# -- the table -------------------------------------------------------------------------------------------------------

total_variation = Divergence(
    "total variation",
    Formulas("|u - 1| / 2", "t", "[-1/2, 1/2]", "tanh(v) / 2", "sign(u - 1) / 2"),
    lambda u: 0.5 * (u - 1).abs(),
    lambda u: 0.5 * (u - 1).sign(),
    lambda t: t,
    lambda v: 0.5 * v.tanh(),
    lambda v: 0.5 * v.tanh(),
    (-0.5, 0.5),
)

kl = Divergence(
    "Kullback-Leibler",
    Formulas("u log u", "e^(t - 1)", "all t", "v", "1 + log u"),
    lambda u: u * u.log(),
    lambda u: 1 + u.log(),
    lambda t: (t - 1).exp(),
    lambda v: v,
    lambda v: (v - 1).exp(),
)

reverse_kl = Divergence(
    "reverse Kullback-Leibler",
    Formulas("-log u", "-1 - log(-t)", "t < 0", "-e^-v", "-1 / u"),
    lambda u: -u.log(),
    lambda u: -1 / u,
    lambda t: -1 - (-t).log(),
    lambda v: -(-v).exp(),
    lambda v: v - 1,
    (-math.inf, 0.0),
)

#: Below t = -2 the supremum is taken at u = 0, where it is -f(0) = -1.
pearson = Divergence(
    "Pearson chi-squared",
    Formulas("(u - 1)^2", "t^2 / 4 + t; -1 for t < -2", "all t", "v", "2 (u - 1)"),
    lambda u: (u - 1).square(),
    lambda u: 2 * (u - 1),
    lambda t: (t / 2 + 1).clamp(min=0).square() - 1,
    lambda v: v,
    lambda v: (v / 2 + 1).clamp(min=0).square() - 1,
)

neyman = Divergence(
    "Neyman chi-squared",
    Formulas("(1 - u)^2 / u", "2 - 2 sqrt(1 - t)", "t < 1", "1 - e^-v", "1 - 1 / u^2"),
    lambda u: (1 - u).square() / u,
    lambda u: 1 - u.pow(-2),
    lambda t: 2 - 2 * (1 - t).sqrt(),
    lambda v: -torch.expm1(-v),
    lambda v: -2 * torch.expm1(-v / 2),
    (-math.inf, 1.0),
)

hellinger = Divergence(
    "squared Hellinger",
    Formulas("(sqrt(u) - 1)^2", "t / (1 - t)", "t < 1", "1 - e^-v", "1 - 1 / sqrt(u)"),
    lambda u: (u.sqrt() - 1).square(),
    lambda u: 1 - u.rsqrt(),
    lambda t: t / (1 - t),
    lambda v: -torch.expm1(-v),
    lambda v: torch.expm1(v),
    (-math.inf, 1.0),
)

jeffrey = Divergence(
    "Jeffrey",
    Formulas("(u - 1) log u", "1/w - log w - 1, w + log w = 1 - t", "all t", "v", "1 + log u - 1 / u"),
    lambda u: (u - 1) * u.log(),
    lambda u: 1 + u.log() - 1 / u,
    jeffrey_conjugate,
    lambda v: v,
    jeffrey_conjugate,
)

#: Twice the Jensen-Shannon divergence of most books.
jensen_shannon = Divergence(
    "Jensen-Shannon",
    Formulas(
        "u log u - (u + 1) log((u + 1) / 2)", "-log(2 - e^t)", "t < log 2", "log 2 - softplus(-v)", "log(2u / (1 + u))"
    ),
    lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    lambda u: (2 * u / (1 + u)).log(),
    lambda t: -(2 - t.exp()).log(),
    lambda v: math.log(2) - softplus(-v),
    lambda v: softplus(v) - math.log(2),
    (-math.inf, math.log(2)),
)

#: Jensen-Shannon less 2 log 2: the value of the original game, whose objective this is.
gan = Divergence(
    "GAN",
    Formulas("u log u - (u + 1) log(u + 1)", "-log(1 - e^t)", "t < 0", "-softplus(-v)", "log(u / (1 + u))"),
    lambda u: u * u.log() - (u + 1) * (u + 1).log(),
    lambda u: (u / (1 + u)).log(),
    lambda t: -(-torch.expm1(t)).log(),
    lambda v: -softplus(-v),
    lambda v: softplus(v),
    (-math.inf, 0.0),
)


def weighted_jensen_shannon(share: float = 0.3) -> Divergence:
    """share KL(p, m) + (1 - share) KL(q, m) with m = share p + (1 - share) q; share in (0, 1), 1/2: half the row above.

    Caution: this is the bound with generator share u log u - (1 - share + share u) log(1 - share + share u).
    """
    rest = 1 - share

    def composite(v: Tensor) -> Tensor:
        # 1 - sigmoid(v)^(1 / share) = (1 - sigmoid(v)) expm1(-a / share) / expm1(-a), and the quotient is tame
        a = softplus(-v).clamp(min=1e-6)
        quotient = torch.expm1(-a / share) / torch.expm1(-a)
        return rest * (math.log(rest) + softplus(v) - quotient.log())

    return Divergence(
        f"Jensen-Shannon weighted {share:g} : {rest:g}",
        Formulas(
            "c u log u - (1 - c + c u) log(1 - c + c u)",
            "(1 - c) log((1 - c) / (1 - c e^(t / c)))",
            "t < -c log c",
            "-c log c - softplus(-v)",
            "c log(u / (1 - c + c u))",
        ),
        lambda u: share * u * u.log() - (rest + share * u) * (rest + share * u).log(),
        lambda u: share * (u / (rest + share * u)).log(),
        lambda t: rest * (math.log(rest) - (1 - share * (t / share).exp()).log()),
        lambda v: -share * math.log(share) - softplus(-v),
        composite,
        (-math.inf, -share * math.log(share)),
    )


def alpha(order: float = 1.5) -> Divergence:
    """Amari's family: 2 is half of Pearson's, -1 half of Neyman's, 1/2 twice Hellinger's, 1 and 0 the two of Kullback.

    Above order 1 the conjugate is constant where its base (a - 1) t + 1 is negative: there the supremum is at u = 0.
    """
    if abs(order - 1) < 1e-6:
        return kl
    if abs(order) < 1e-6:
        return reverse_kl
    a, power = order, order / (order - 1)

    def conjugate(t: Tensor) -> Tensor:
        return (relu((a - 1) * t + 1).pow(power) - 1) / a

    def composite_below(v: Tensor) -> Tensor:
        return ((power * (math.log(1 - a) + log_softplus(-v))).exp() - 1) / a

    below = a < 1
    return Divergence(
        f"alpha of order {order:g}",
        Formulas(
            "(u^a - 1 - a (u - 1)) / (a (a - 1))",
            "(((a - 1) t + 1)^(a / (a - 1)) - 1) / a",
            "t < 1 / (1 - a)" if below else "all t",
            "1 / (1 - a) - softplus(-v)" if below else "v",
            "(u^(a - 1) - 1) / (a - 1)",
        ),
        lambda u: (u.pow(a) - 1 - a * (u - 1)) / (a * (a - 1)),
        lambda u: (u.pow(a - 1) - 1) / (a - 1),
        conjugate,
        (lambda v: 1 / (1 - a) - softplus(-v)) if below else (lambda v: v),
        composite_below if below else conjugate,
        (-math.inf, 1 / (1 - a) if below else math.inf),
    )


#: The share of the weighted Jensen-Shannon divergence and the order of the alpha divergence, if none is given.
SHARE, ORDER = 0.3, 1.5


def divergences(share: float = SHARE, order: float = ORDER) -> dict[str, Divergence]:
    """Every row by its short name."""
    return {
        "total_variation": total_variation,
        "kl": kl,
        "reverse_kl": reverse_kl,
        "pearson": pearson,
        "neyman": neyman,
        "hellinger": hellinger,
        "jeffrey": jeffrey,
        "jensen_shannon": jensen_shannon,
        "weighted_jensen_shannon": weighted_jensen_shannon(share),
        "gan": gan,
        "alpha": alpha(order),
    }


def divergence_table() -> str:
    """All rows as two tables to be read: generators with the best critic, conjugates with the activation."""
    rows = divergences()
    first = [("divergence", "f(u)", "best T = f'(u), u = p / q", "f'(1)")]
    second = [("divergence", "f*(t)", "where", "T = g(v)")]
    for name, row in rows.items():
        first.append((name, row.written.generator, row.written.best, f"{row.threshold:.4g}"))
        second.append((name, row.written.conjugate, row.written.domain, row.written.activation))
    return "\n\n".join([_aligned(first), _aligned(second), "c is the option share, a the option order"])


def _aligned(lines: list[tuple[str, str, str, str]]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(4)]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
