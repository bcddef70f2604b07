"""Families of q(z | x) beyond the diagonal Gaussian: from an encoder's numbers to a distribution over codes.

Every posterior answers `mean`, `at(epsilon)`, `sample(epsilon)`, `log_prob(z)` and `repeat(n)`, with epsilon standard
normal and shaped as the mean; the plainest is `probability.distributions.DiagonalNormal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from exnihilo.models.autoencoders.priors import PosteriorFamily
from exnihilo.nets.masked import MADE
from exnihilo.probability.bijections import entry_by_entry
from exnihilo.probability.distributions import DiagonalNormal, normal_log_prob
from exnihilo.probability.planar import Planar

LARGEST = 10.0  # of a log-variance, either way
COMPONENTS = 4  # of a mixture
OPEN = 3.0  # what is added to the gates of inverse autoregressive steps


@dataclass(frozen=True)
class FullNormal:
    """N(mean, L L^T) over vectors: mean [B, K], L [B, K, K] lower triangular with a positive diagonal.

    Kingma & Welling, 2019, arXiv:1906.02691, section 2.5.1: units of a code may vary together.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> FullNormal:
        """From a network's output [B, 2 + K, K]: means, the diagonal's log-variances, and L below its diagonal."""
        mean, log_variance, below = parameters[:, 0], parameters[:, 1], parameters[:, 2:]
        diagonal = torch.exp(0.5 * log_variance.clamp(-LARGEST, LARGEST))
        return cls(mean, below.tril(-1) + torch.diag_embed(diagonal))

    def at(self, epsilon: Tensor) -> Tensor:
        """z = mean + L epsilon."""
        return self.mean + (self.factor @ epsilon[:, :, None])[:, :, 0]

    def sample(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """z and log q(z) [B] = log N(epsilon; 0, I) - log det L."""
        return self.at(epsilon), normal_log_prob(epsilon).sum(dim=1) - self._log_det()

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        white = torch.linalg.solve_triangular(self.factor, (z - self.mean)[:, :, None], upper=False)[:, :, 0]
        return normal_log_prob(white).sum(dim=1) - self._log_det()

    def repeat(self, n: int) -> FullNormal:
        """Every distribution n times in a row."""
        return FullNormal(self.mean.repeat_interleave(n, dim=0), self.factor.repeat_interleave(n, dim=0))

    def _log_det(self) -> Tensor:
        return self.factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)


@dataclass(frozen=True)
class NormalMixture:
    """sum_c w_c N(m_c, diag s_c^2) over vectors: log w [B, C], means and log-variances [B, C, K].

    Draws carry implicit gradients (Figurnov et al., 2018, arXiv:1805.08498, Eq. 4 and section 3): with the
    conditional distribution functions F_k(z_k | z_<k) held still, dz = -(dF/dz)^-1 dF/dtheta, where dF/dz is lower
    triangular. They are unbiased in the weights as well, at one draw; the component itself has no gradient.
    """

    log_weights: Tensor
    means: Tensor
    log_variances: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> NormalMixture:
        """From a network's output [B, C, 2 K + 1]: a logit, means and log-variances of every component."""
        logits, rest = parameters[:, :, 0], parameters[:, :, 1:]
        means, log_variances = rest.chunk(2, dim=2)
        return cls(logits.log_softmax(dim=1), means, log_variances.clamp(-LARGEST, LARGEST))

    @property
    def mean(self) -> Tensor:
        """[B, K] of the whole mixture."""
        return (self.log_weights.exp()[:, :, None] * self.means).sum(dim=1)

    @torch.no_grad()
    def _draw(self, epsilon: Tensor) -> Tensor:
        """A draw without gradients. The first epsilon chooses the component as well.

        Phi(epsilon_1) is uniform; the component is the part of [0, 1] into which it falls, and its place within that
        part is uniform again and independent of the choice.
        """
        heap = self.log_weights.double().softmax(dim=1).cumsum(dim=1)
        edges = torch.nn.functional.pad(heap, (1, 0))  # [B, C + 1]
        edges[:, -1] = 1.0
        uniform = torch.special.ndtr(epsilon[:, :1].double())
        chosen = (uniform >= edges[:, 1:-1]).sum(dim=1, keepdim=True)  # [B, 1]
        low, high = edges.gather(1, chosen), edges.gather(1, chosen + 1)
        tiny = 1e-12
        inside = ((uniform - low) / (high - low).clamp(min=tiny)).clamp(tiny, 1 - tiny)
        fresh = torch.cat([torch.special.ndtri(inside).to(epsilon), epsilon[:, 1:]], dim=1)
        rows = torch.arange(len(epsilon), device=epsilon.device)
        means, log_variances = self.means[rows, chosen[:, 0]], self.log_variances[rows, chosen[:, 0]]
        return means + torch.exp(0.5 * log_variances) * fresh

    def at(self, epsilon: Tensor) -> Tensor:
        """A draw z [B, K] whose gradient is the implicit one."""
        z = self._draw(epsilon)
        if not torch.is_grad_enabled():
            return z
        values, slopes = self._conditionals(z)
        shift = torch.linalg.solve_triangular(slopes, values[:, :, None], upper=False)[:, :, 0]
        return z - (shift - shift.detach())  # the value of z, the gradient of -(dF/dz)^-1 F

    def _conditionals(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """F_k(z_k | z_<k) [B, K] as a function of the parameters, and its slopes dF_k/dz_j [B, K, K], constants.

        F_k = sum_c r_c(z_<k) Phi((z_k - m_ck) / s_ck), where r_c(z_<k) are the components' shares given z_<k.
        """
        point = z[:, None]  # [B, 1, K]
        density = normal_log_prob(point, self.means, self.log_variances)  # [B, C, K]
        before = density.cumsum(dim=2) - density
        shares = (self.log_weights[:, :, None] + before).softmax(dim=1)
        reached = torch.special.ndtr((point - self.means) * torch.exp(-0.5 * self.log_variances))
        values = (shares * reached).sum(dim=1)
        with torch.no_grad():
            pull = -(point - self.means) * torch.exp(-self.log_variances)  # d log N / dz
            moved = torch.einsum("bck,bcj->bkj", shares * (reached - values[:, None]), pull)
            slopes = moved.tril(-1) + torch.diag_embed((shares * density.exp()).sum(dim=1).clamp(min=1e-30))
        return values, slopes

    def sample(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """z and log q(z) [B]."""
        z = self.at(epsilon)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        each = normal_log_prob(z[:, None], self.means, self.log_variances).sum(dim=2)
        return (self.log_weights + each).logsumexp(dim=1)

    def repeat(self, n: int) -> NormalMixture:
        """Every distribution n times in a row."""
        parts = (self.log_weights, self.means, self.log_variances)
        return NormalMixture(*(part.repeat_interleave(n, dim=0) for part in parts))


class PosteriorStep(Protocol):
    """An invertible map of codes [B, K], with a setting of its own for every example."""

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(z', log|det dz'/dz| [B])."""

    def inverse(self, z: Tensor) -> Tensor:
        """The z that is mapped to z'."""

    def repeat(self, n: int) -> PosteriorStep:
        """Every setting n times in a row."""


@dataclass(frozen=True)
class FlowPosterior:
    """z = f_T o ... o f_1(z_0), z_0 ~ N(m, diag s^2):  log q(z) = log q_0(z_0) - sum_t log|det df_t/dz_(t-1)|.

    Rezende & Mohamed, 2015, arXiv:1505.05770, Eq. 13. Caution: `log_prob` of a given z goes back through every step,
    which is slow; `sample` knows the way already.
    """

    base: DiagonalNormal
    steps: Sequence[PosteriorStep]

    @property
    def mean(self) -> Tensor:
        """[B, K] where the base's mean is carried to: no expectation, which has no closed form."""
        return self.at(torch.zeros_like(self.base.mean))

    def at(self, epsilon: Tensor) -> Tensor:
        """z alone."""
        z = self.base.at(epsilon)
        for step in self.steps:
            z = step(z)[0]
        return z

    def sample(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """z and log q(z) [B]."""
        z, log_q = self.base.sample(epsilon)
        for step in self.steps:
            z, log_det = step(z)
            log_q = log_q - log_det
        return z, log_q

    def log_prob(self, z: Tensor) -> Tensor:
        """[B] in nats."""
        total = z.new_zeros(len(z))
        for step in reversed(self.steps):
            z = step.inverse(z)
            total = total + step(z)[1]
        return self.base.log_prob(z) - total

    def repeat(self, n: int) -> FlowPosterior:
        """Every distribution n times in a row."""
        return FlowPosterior(self.base.repeat(n), [step.repeat(n) for step in self.steps])


class PlanarFamily(nn.Module):
    """Diagonal Gaussians bent by planar steps, all of whose parameters come from the encoder.

    forward: [B, sum(sizes)] = m, log s^2, and u, w, b of every step -> FlowPosterior.
    """

    def __init__(self, latent: int, length: int):
        super().__init__()
        self.latent, self.length = latent, length
        self.size = 2 * latent + length * (2 * latent + 1)  # numbers that the encoder makes

    def forward(self, parameters: Tensor) -> FlowPosterior:
        k = self.latent
        base = DiagonalNormal.of(parameters[:, : 2 * k].unflatten(1, (2, k)))
        each = parameters[:, 2 * k :].unflatten(1, (self.length, 2 * k + 1))  # [B, length, 2 K + 1]
        return FlowPosterior(base, [Planar(s[:, :k], s[:, k : 2 * k], s[:, 2 * k]) for s in each.unbind(dim=1)])


@dataclass(frozen=True)
class InverseAutoregressive:
    """z'_k = g_k z_k + (1 - g_k) m_k with g, m functions of z_<k and the vector [B, H]:  log|det| = sum log g_k.

    Kingma et al., 2016, arXiv:1606.04934, Eq. 11-14 and algorithm 1, g = sigmoid(s + 3): every step starts by keeping
    z. (With s + 1.5, eight of them would shrink it to a fifth.) The entries are turned round afterwards, so that the
    next step conditions the other way.
    """

    network: MADE
    vector: Tensor

    def _parameters(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(log g, m), each [B, K]."""
        gate, mean = self.network(z, self.vector).to(z).chunk(2, dim=1)
        return logsigmoid(gate + OPEN), mean

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_gate, mean = self._parameters(z)
        gate = log_gate.exp()
        return (gate * z + (1 - gate) * mean).flip(1), log_gate.sum(dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """Entry by entry, since entry k needs those before it: a pass of the network for each."""
        turned = z.flip(1)

        def guess(before: Tensor) -> Tensor:
            log_gate, mean = self._parameters(before)
            gate = log_gate.exp()
            return (turned - (1 - gate) * mean) / gate

        return entry_by_entry(guess, turned)

    def repeat(self, n: int) -> InverseAutoregressive:
        return InverseAutoregressive(self.network, self.vector.repeat_interleave(n, dim=0))


class InverseAutoregressiveFamily(nn.Module):
    """Diagonal Gaussians carried through autoregressive networks that see the encoder's vector.

    forward: [B, 2 K + vector] = m, log s^2 and the vector -> FlowPosterior.
    """

    def __init__(self, latent: int, length: int, *, width: int, vector: int):
        super().__init__()
        self.latent = latent
        self.size = 2 * latent + vector  # numbers that the encoder makes
        networks = [MADE((latent,), 2, width=width, depth=2, vector=vector) for _ in range(length)]
        self.networks = nn.ModuleList(networks)

    def forward(self, parameters: Tensor) -> FlowPosterior:
        k = self.latent
        base = DiagonalNormal.of(parameters[:, : 2 * k].unflatten(1, (2, k)))
        vector = torch.tanh(parameters[:, 2 * k :])
        networks = cast("list[MADE]", list(self.networks))
        return FlowPosterior(base, [InverseAutoregressive(network, vector) for network in networks])


PosteriorName = Literal["diagonal", "full", "mixture"]


def family_named(name: PosteriorName, latent: int) -> tuple[tuple[int, ...], PosteriorFamily]:
    """(the shape that the encoder must answer, what makes q(z | x) of it)."""
    if name == "full":
        return (2 + latent, latent), FullNormal.of
    if name == "mixture":
        return (COMPONENTS, 2 * latent + 1), NormalMixture.of
    return (2, latent), DiagonalNormal.of
