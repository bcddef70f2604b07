"""Critics that restore: energies, margins, and the controller of a boundary equilibrium."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, adam, create, seeded
from exnihilo.data import load_data
from exnihilo.models.gans.autoencoding import (
    AutoencodingCritic,
    BoundaryEquilibriumGAN,
    autoencoding_critic,
    mean_absolute,
    root_mean_square,
)
from exnihilo.models.gans.penalties import PullingAway
from exnihilo.training import Budget, Trainer

POINTS = DataSpec("vector", (4,))


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


def test_a_score_is_minus_how_far_the_restored_is() -> None:
    x = torch.tensor([[1.0, -3.0], [0.0, 0.0]])
    squares = AutoencodingCritic(nn.Identity(), Halved(), 2, root_mean_square)
    absolutes = AutoencodingCritic(nn.Identity(), Halved(), 2, mean_absolute)
    torch.testing.assert_close(squares(x), torch.tensor([-(1.25**0.5), 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(absolutes(x), torch.tensor([-1.0, 0.0]))
    torch.testing.assert_close(squares.features(x), x)


@pytest.mark.parametrize("name", ["ebgan", "began"])
@pytest.mark.parametrize(("shape", "size"), [((4,), 8), ((100,), 8), ((1, 9, 7), 12), ((1, 28, 28), 32)])
def test_the_usual_code_is_short(name: str, shape: tuple[int, ...], size: int) -> None:
    spec = DataSpec("vector", shape) if len(shape) == 1 else DataSpec("image", shape, levels=256)
    critic = create(name, spec, width=8).critic
    x = torch.randn(5, *shape)
    assert critic.features(x).shape == (5, size)
    assert critic.feature_size == size
    assert critic(x).shape == (5,)


def test_ebgan_is_options() -> None:
    model = create("ebgan", POINTS, width=8, margin=0.3)
    assert isinstance(model.contents["apart"], PullingAway)
    assert model.coupled
    far = torch.tensor([-9.0], requires_grad=True)
    (slope,) = torch.autograd.grad(model.objective.critic(torch.zeros(1), far), far)
    assert slope.item() == 0.0
    plain = create("ebgan", POINTS, width=8, apart=0.0)
    assert plain.contents == {}
    assert not plain.coupled


def equilibrium(**options: float) -> BoundaryEquilibriumGAN:
    with seeded("equilibrium"):
        critic = autoencoding_critic(POINTS, 2, 16, mean_absolute)
        model = BoundaryEquilibriumGAN(nn.Linear(2, 4), critic, latent=2, optimizer=adam(5e-3), **options)
    model.spec = POINTS
    return model


def test_the_controller_has_its_golden_values() -> None:
    """k = 0, L(x) = 1, L(G(z)) = .3, diversity .5, step .1: k becomes .02 and M is 1.2."""
    model = equilibrium(diversity=0.5, step=0.1)
    model.remember({"real": torch.tensor(1.0)})
    assert model.convergence(model.real_energy, torch.tensor(0.3)).item() == pytest.approx(1.2)
    model.rebalance({"fake": torch.tensor(0.3)})
    assert model.balance.item() == pytest.approx(0.02)
    model.rebalance({"fake": torch.tensor(0.5)})  # the equilibrium: L(G(z)) = diversity L(x)
    assert model.balance.item() == pytest.approx(0.02)
    model.rebalance({"fake": torch.tensor(99.0)})
    assert model.balance.item() == 0.0
    model.remember({"real": torch.tensor(99.0)})
    model.rebalance({"fake": torch.tensor(0.0)})
    assert model.balance.item() == 1.0


def test_the_critic_restores_reals_and_k_times_not_fakes() -> None:
    model = equilibrium()
    batch = Batch(torch.randn(6, 4))
    model.balance.fill_(0.25)
    with seeded("turn"):
        terms = model.critic_loss(batch)
    with seeded("turn"):
        real = -model.critic(model.reals(batch)).mean()
        fake = -model.critic(model.fakes(batch)).mean()
    torch.testing.assert_close(terms["real"], real)
    torch.testing.assert_close(terms["fake"], -0.25 * fake)
    own = model.generator_loss(batch)
    assert [name for name, term in own.items() if term.requires_grad] == ["fake"]
    assert own["balance"].item() == 0.25


def test_the_controller_holds_the_ratio_and_the_measure_falls() -> None:
    """Points near a line in four dimensions: L(G(z)) / L(x) comes near the diversity that was asked."""
    with seeded("line"):
        x = torch.randn(2000, 1) * torch.tensor([1.0, 0.5, -0.5, 0.2]) + 0.1 * torch.randn(2000, 4)
    data = load_data(x.numpy())
    model = equilibrium(diversity=0.6, step=0.05)
    model.spec, model.batch = data.spec, 64
    held_out = data.split("validation").first()
    with torch.no_grad(), seeded("judge"):
        before = model.validate(held_out)["convergence"].item()
    trainer = Trainer(model, data, Budget(steps=300), seed=0)
    ratios: list[float] = []
    moved = model.rebalance

    def watch(terms: dict[str, Tensor]) -> None:
        ratios.append(float(terms["fake"] / model.real_energy))
        moved(terms)

    model.rebalance = watch  # type: ignore[method-assign]
    trainer.run()
    with torch.no_grad(), seeded("judge"):
        after = model.validate(held_out)["convergence"].item()
    assert after < 0.7 * before
    assert sum(ratios[-100:]) / 100 == pytest.approx(0.6, abs=0.1)
    assert 0 <= model.balance.item() <= 1


def test_began_keeps_the_weights_of_its_best_measure() -> None:
    model = create("began", POINTS, width=8, latent=2)
    figures = model.validate(Batch(torch.randn(8, 4)))
    assert list(figures) == ["convergence"]
    assert figures["convergence"].item() > 0
    assert model.capabilities == ("sample", "decode")
    assert "balance" in model.state_dict()
