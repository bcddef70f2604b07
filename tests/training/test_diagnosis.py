"""Each detector is provoked by a training that really goes wrong, and silent in one that does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import exnihilo.models  # noqa: F401
from exnihilo.core import Player, create
from exnihilo.data import load_data
from exnihilo.training import Budget, Trainer
from exnihilo.training.diagnosis import Diagnosis, critic_wins, generator_gradient_vanishes, modes_collapse
from tests.training.models import Tiny


@pytest.fixture(scope="module")
def data():
    return load_data("ring8")


def warnings(model, data, steps, **budget):
    said: list[str] = []
    Trainer(model, data, Budget(steps=steps), seed=0, hooks=[Diagnosis(said.append)]).run()
    return " ".join(said)


class Duel(Tiny):
    """A one-sided game: a critic with a strong network, a generator with a chosen rate and loss."""

    average = False
    critic_rate = 1e-2

    def __init__(self, spec, saturating: bool, collapsed: bool = False):
        super().__init__(spec)
        self.saturating, self.collapsed = saturating, collapsed
        self.critic = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))
        self.generator = nn.Linear(2, 2)
        nn.init.constant_(self.generator.bias, 6.0)  # far from the data: the critic has it easy

    def players(self):
        from exnihilo.core import adam

        yield Player("critic", self.critic, self.critic_loss, optimizer=adam(self.critic_rate), steps=3)
        yield Player("generator", self.generator, self.generator_loss, optimizer=adam(1e-6))

    def fake(self, n):
        return self.generator(torch.randn(n, 2) * (0.001 if self.collapsed else 1.0))

    def critic_loss(self, batch):
        real, fake = self.critic(batch.x), self.critic(self.fake(len(batch)))
        accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        loss = nn.functional.softplus(-real) + nn.functional.softplus(fake)
        return {"adversarial": loss.mean(), "accuracy": accuracy.detach()}

    def generator_loss(self, batch):
        fake = self.critic(self.fake(len(batch)))
        return {
            "adversarial": (-nn.functional.softplus(fake) if self.saturating else nn.functional.softplus(-fake)).mean()
        }

    def draw(self, noise, *, label=None, attributes=None, text=None, given=None, mask=None):
        return self.generator(noise.normal(2) * (0.001 if self.collapsed else 1.0))


def test_a_critic_that_always_wins(data):
    assert "The critic wins" in warnings(Duel(data.spec, saturating=False), data, 300)


def test_a_generator_whose_gradient_vanishes(data):
    """The minimax loss of a winning critic: its gradient dies, as Goodfellow et al. (2014) warn."""
    duel = Duel(data.spec, saturating=True)
    duel.critic_rate = 3e-3
    assert "gradient has vanished" in warnings(duel, data, 2000)


def test_modes_that_collapse(data):
    said = warnings(Duel(data.spec, saturating=False, collapsed=True), data, 300)
    assert "Modes have collapsed" in said
    assert "penalty" in said


def test_a_posterior_that_collapses():
    """Pure noise has nothing to encode."""
    noise = load_data(torch.randn(3000, 4, generator=torch.Generator().manual_seed(0)).numpy())
    said = warnings(create("vae", noise, width=16, latent=4), noise, 600)
    assert "posterior has collapsed" in said


def test_healthy_training_is_left_alone(data):
    digits = load_data("digits")
    assert warnings(create("vae", digits, width=32, latent=4), digits, 200) == ""
    healthy = {"critic/accuracy": 0.7, "generator/gradient": 1.0}
    assert critic_wins([healthy] * 20) is None
    assert generator_gradient_vanishes([healthy] * 20) is None
    x = data.split("train").first(64).x
    assert modes_collapse(x.flip(0), x) is None
