"""Optimisers named now, built when their parameters are known: `adam(2e-4, betas=(0.5, 0.999))`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

#: Factor on the learning rate as a function of the stage's progress in [0, 1].
Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """The rate stays as it is."""
    return 1.0


def cosine(warmup: float = 0.03, hold: float = 0.3, end: float = 0.01) -> Schedule:
    """Linear rise until `warmup`, flat until `hold`, then half a cosine down to `end` of the rate."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return max(progress / warmup, 1e-3)
        fall = min(max((progress - hold) / (1 - hold), 0.0), 1.0)
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * fall))

    return factor


def linear(end: float = 0.0) -> Schedule:
    """A straight line from the full rate to `end` of it."""
    return lambda progress: 1 + (end - 1) * progress


@dataclass(frozen=True)
class OptimizerFactory:
    """Options now, parameters later; the trainer sets `rate * schedule(progress)` before every step."""

    build: type[torch.optim.Optimizer]
    rate: float
    clip: float | None = None  # largest allowed norm of the player's whole gradient
    schedule: Schedule = constant
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.build(list(parameters), lr=self.rate, **self.options)  # type: ignore[call-arg]


def adam(
    rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    clip: float | None = None,
    schedule: Schedule = constant,
) -> OptimizerFactory:
    """Adam (Kingma & Ba, 2015, arXiv:1412.6980)."""
    return OptimizerFactory(torch.optim.Adam, rate, clip, schedule, {"betas": betas, "fused": True})


def adamw(
    rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: float = 0.01,
    clip: float | None = None,
    schedule: Schedule = constant,
) -> OptimizerFactory:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101)."""
    return OptimizerFactory(
        torch.optim.AdamW, rate, clip, schedule, {"betas": betas, "weight_decay": decay, "fused": True}
    )


def rmsprop(rate: float, *, clip: float | None = None, schedule: Schedule = constant) -> OptimizerFactory:
    """RMSProp (Tieleman & Hinton, 2012), the choice of weight-clipped Wasserstein GANs."""
    return OptimizerFactory(torch.optim.RMSprop, rate, clip, schedule)


def sgd(
    rate: float,
    *,
    momentum: float = 0.0,
    decay: float = 0.0,
    clip: float | None = None,
    schedule: Schedule = constant,
) -> OptimizerFactory:
    """Stochastic gradient descent with momentum and L2 decay."""
    return OptimizerFactory(torch.optim.SGD, rate, clip, schedule, {"momentum": momentum, "weight_decay": decay})


def sghmc(
    rate: float, *, friction: float = 0.1, temperature: float = 1.0, clip: float | None = None
) -> OptimizerFactory:
    """Stochastic-gradient Hamiltonian Monte Carlo (Chen et al., 2014, arXiv:1402.4102): a sampler of weights."""
    return OptimizerFactory(SGHMC, rate, clip, constant, {"friction": friction, "temperature": temperature})


class SGHMC(torch.optim.Optimizer):
    """v <- (1 - friction) v - rate grad + N(0, 2 friction rate temperature);  w <- w + v.

    Chen et al., 2014, arXiv:1402.4102, Eq. 15 with the gradient noise estimate 0. The gradient must be
    of the potential -log p(w | data) summed over the data set; its noise comes from torch's generator, which the
    trainer seeds.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, friction: float, temperature: float):
        super().__init__(parameters, {"lr": lr, "friction": friction, "temperature": temperature})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            spread = math.sqrt(2 * group["friction"] * group["lr"] * group["temperature"])
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state: dict[str, Tensor] = self.state[weight]
                velocity = state.setdefault("velocity", torch.zeros_like(weight))
                velocity.mul_(1 - group["friction"]).sub_(weight.grad, alpha=group["lr"])
                velocity.add_(torch.randn_like(weight), alpha=spread)
                weight.add_(velocity)
        return loss
