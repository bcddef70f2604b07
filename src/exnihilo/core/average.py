"""The average of a model's weights along its training, whose horizon grows with the run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PowerAverage:
    """Power-law average: after round t every weight is mixed in by 1 - beta_t, beta_t = (1 - 1/t)^(gamma + 1).

    Karras et al., 2024, arXiv:2312.02696, Eq. 127; gamma = 6.94 has a relative width of 10 % of the run, so nobody
    chooses a decay. Parameters only: buffers (batch statistics, levels) are taken as they stand.
    """

    def __init__(self, module: nn.Module, gamma: float = 6.94):
        self.gamma = gamma
        self.restart(module)

    def restart(self, module: nn.Module) -> None:
        """Forget the past: a new stage begins from the model as it is, and is followed from here."""
        self.rounds = 0
        self.followed = dict(module.named_parameters())
        self.weights = {name: weight.detach().clone() for name, weight in self.followed.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Mix in the weights after one more round."""
        self.rounds += 1
        mix = 1 - (1 - 1 / self.rounds) ** (self.gamma + 1)
        torch._foreach_lerp_(list(self.weights.values()), [self.followed[name] for name in self.weights], mix)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights with the average; a second call takes it back."""
        for name, weight in self.followed.items():
            held: Tensor = self.weights[name]
            current = weight.detach().clone()
            weight.copy_(held)
            held.copy_(current)
