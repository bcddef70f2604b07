"""What is added to a player's loss to keep it smooth: functions of the score, the reals and the fakes.

Weights below are those of the whole term, which a mean over the batch multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from exnihilo.core import Terms

#: The critic's answer to examples, whatever else it is told: [B, *shape] -> [B, ...].
Score = Callable[[Tensor], Tensor]


class Penalty(Protocol):
    """A scalar to be minimised with the critic's loss, its weight inside."""

    @property
    def every(self) -> int:
        """1: part of every update. n: an update of its own in each n-th round, n times as strong (Karras et al., 2020,
        arXiv:1912.04958, Section 3.1), which saves time where the penalty is dear."""
        ...

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor: ...


# -- of the score's slope --------------------------------------------------------------------------------------------


def squared_gradient(score: Score, x: Tensor) -> Tensor:
    """[B]: |grad_x s(x)|^2 per example, itself differentiable in the critic's weights.

    Caution: with batch normalisation a score depends on the whole batch, and this is no longer a gradient per example.
    """
    point = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(point).sum(), point, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)


@dataclass(frozen=True)
class R1:
    """weight / 2 E |grad s(x)|^2 at the reals: no slope where the game should end.

    Mescheder et al., 2018, arXiv:1801.04406, Eq. 9. Caution: it makes the loss differentiate a gradient, about twice
    the cost of the critic's update; `every` makes up for it.
    """

    weight: float = 10.0
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight / 2 * squared_gradient(score, real).mean()


@dataclass(frozen=True)
class R2:
    """weight / 2 E |grad s(G(z))|^2 at the fakes (Mescheder et al., 2018, arXiv:1801.04406, Eq. 10)."""

    weight: float = 10.0
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight / 2 * squared_gradient(score, fake).mean()


@dataclass(frozen=True)
class GradientPenalty:
    """weight E (|grad s(u)| - target)^2 at points u = e x + (1 - e) G(z) between reals and fakes, e ~ U(0, 1) each.

    Gulrajani et al., 2017, arXiv:1704.00028, Eq. 3 (target 1): a 1-Lipschitz critic along the way of transport.
    Reals and fakes must be equally many. one_sided: only slopes above the target cost (the same, Section 4; Petzka et
    al., 2018, arXiv:1709.08894). at: u of the reals or the fakes instead (Kodali et al., 2017, arXiv:1705.07215).
    """

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    at: Literal["between", "real", "fake"] = "between"
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
        points = {"between": share * real + (1 - share) * fake, "real": real, "fake": fake}[self.at]
        excess = (squared_gradient(score, points) + 1e-12).sqrt() - self.target  # [B]; the root has no slope at 0
        return self.weight * (relu(excess) if self.one_sided else excess).square().mean()


# -- of the weights --------------------------------------------------------------------------------------------------


def clip_weights(critic: nn.Module, bound: float, terms: Terms) -> None:
    """Every parameter back into [-bound, bound]: `after_critic=partial(clip_weights, critic, 0.01)`.

    Arjovsky et al., 2017, arXiv:1701.07875, Algorithm 1: a compact set of critics is Lipschitz with one constant.
    Caution: normalised layers keep their scale there as well, and a small bound makes gradients vanish with depth.
    """
    for weight in critic.parameters():
        weight.clamp_(-bound, bound)


def matrices(module: nn.Module) -> Iterator[Tensor]:
    """[out, in] the weights of its linear and convolutional layers, a row for each output."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            yield layer.weight.flatten(1)


@dataclass(frozen=True)
class WeightDecay:
    """weight / 2 |w|^2 of a module's weights, biases left out: of a last layer, the margin of a support vector machine.

    A term of the loss, unlike an optimiser's decay, so that Adam's scaling does not undo it.
    """

    module: nn.Module
    weight: float = 1e-3
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight / 2 * torch.stack([matrix.square().sum() for matrix in matrices(self.module)]).sum()


@dataclass(frozen=True)
class Orthogonal:
    """weight sum_W |W W^T - I| over the layers of a module, of W^T W where W has more rows than columns.

    Brock et al., 2017, arXiv:1609.07093, Eq. 2, with the absolute values it is given there. A layer of orthonormal rows
    passes gradients on at their length.
    """

    module: nn.Module
    weight: float = 1e-3
    every: int = 1

    def __call__(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        parts = []
        for matrix in matrices(self.module):
            short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            parts.append((short @ short.T - torch.eye(len(short), device=matrix.device)).abs().sum())
        return self.weight * torch.stack(parts).sum()


class HistoricalAverage(nn.Module):
    """weight |theta - mean of theta over the rounds so far|^2 of one player's parameters.

    Salimans et al., 2016, arXiv:1606.03498, Section 3.3: games then also settle where plain gradients circle. A penalty
    of the critic or a content of the generator; `move` belongs into that player's `after`.
    """

    rounds: Tensor

    def __init__(self, module: nn.Module, weight: float = 1e-3):
        super().__init__()
        self.watched = (module,)  # a tuple: the module is watched, not owned
        self.weight, self.every = weight, 1
        for number, parameter in enumerate(module.parameters()):
            self.register_buffer(f"mean_{number}", parameter.detach().clone(), persistent=False)
        self.register_buffer("rounds", torch.zeros(()), persistent=False)

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter with its mean."""
        for number, parameter in enumerate(self.watched[0].parameters()):
            yield parameter, self.get_buffer(f"mean_{number}")

    def forward(self, score: Score, real: Tensor | None, fake: Tensor) -> Tensor:
        return self.weight * torch.stack([(now - mean).square().sum() for now, mean in self.pairs()]).sum()

    def move(self, terms: Terms) -> None:
        """One more round in the mean."""
        self.rounds += 1
        for now, mean in self.pairs():
            mean.lerp_(now, 1 / self.rounds)


# -- of what the critic sees -----------------------------------------------------------------------------------------


def pulling_away(codes: Tensor) -> Tensor:
    """(): the mean squared cosine between different rows of codes [B, F]; 0 where all are orthogonal, 1 where equal.

    Zhao et al., 2017, arXiv:1609.03126, Eq. 4.
    """
    rows = normalize(codes.flatten(1), dim=1)
    return ((rows @ rows.T).square().sum() - rows.square().sum(dim=1).square().sum()) / (len(rows) * (len(rows) - 1))


@dataclass(frozen=True)
class PullingAway:
    """weight times `pulling_away` of the critic's features of the fakes: a wish of the generator for variety."""

    weight: float = 0.1

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        features: Callable[[Tensor], Tensor] = critic.features  # type: ignore[assignment]
        return self.weight * pulling_away(features(fake))
