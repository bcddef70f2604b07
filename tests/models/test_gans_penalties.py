"""Penalties of critics: closed forms at linear critics, where they are taken, averages and angles."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, OptionError, adam, create, rmsprop, seeded
from exnihilo.data import load_data
from exnihilo.models.gans import GAN, GradientPenalty
from exnihilo.models.gans.networks import critic_for
from exnihilo.models.gans.objectives import wasserstein
from exnihilo.models.gans.penalties import (
    R2,
    HistoricalAverage,
    Orthogonal,
    PullingAway,
    clip_weights,
    pulling_away,
)
from exnihilo.training import Budget, Trainer

LINE = DataSpec("vector", (1,))


class Square(nn.Module):
    """s(x) = |x|^2 / 2: its slope at x is x."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x.square().sum(dim=1)


def test_gradient_penalties_are_taken_where_they_say() -> None:
    real, fake = torch.full((8, 1), 3.0), torch.full((8, 1), 5.0)
    assert GradientPenalty(2.0, target=1.0, at="real")(Square(), real, fake).item() == pytest.approx(2 * 4.0)
    assert GradientPenalty(2.0, target=1.0, at="fake")(Square(), real, fake).item() == pytest.approx(2 * 16.0)
    assert R2(2.0)(Square(), real, fake).item() == pytest.approx(25.0)


def test_a_one_sided_penalty_leaves_flat_critics_alone() -> None:
    points = torch.tensor([[0.5], [3.0]])
    both = GradientPenalty(1.0, at="real")(Square(), points, points).item()
    above = GradientPenalty(1.0, at="real", one_sided=True)(Square(), points, points).item()
    assert both == pytest.approx((0.25 + 4.0) / 2)
    assert above == pytest.approx(4.0 / 2)


def test_a_flat_critic_has_a_finite_gradient() -> None:
    critic = nn.Linear(3, 1)
    nn.init.zeros_(critic.weight)
    penalty = GradientPenalty(1.0)(critic, torch.randn(4, 3), torch.randn(4, 3))
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert torch.autograd.grad(penalty, critic.weight)[0].isfinite().all()


def test_pulling_away_has_its_golden_value_and_its_ends() -> None:
    rows = torch.tensor([[1.0, 0, 2], [0, 1, 1], [2, 1, 0]])
    assert pulling_away(rows).item() == pytest.approx(0.22, abs=1e-6)
    assert pulling_away(torch.ones(4, 3)).item() == pytest.approx(1.0, abs=1e-6)
    assert pulling_away(torch.eye(4)).item() == pytest.approx(0.0, abs=1e-6)
    critic = critic_for(DataSpec("vector", (3,)), 8)
    content = PullingAway(0.5)(critic, rows, rows)
    torch.testing.assert_close(content, 0.5 * pulling_away(critic.features(rows)))


def test_orthogonal_layers_cost_nothing() -> None:
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 6), nn.Conv2d(2, 3, 2))
    for layer in (network[0], network[2], network[3]):
        nn.init.orthogonal_(layer.weight)
    penalty = Orthogonal(network, weight=2.0)
    nothing = torch.empty(0)
    assert penalty(network, nothing, nothing).item() == pytest.approx(0.0, abs=1e-4)
    with torch.no_grad():
        network[0].weight.mul_(2**0.5)  # W W^T = 2 I
    assert penalty(network, nothing, nothing).item() == pytest.approx(2 * 4, abs=1e-3)


def test_decay_is_half_the_squared_weights_of_the_named_layer() -> None:
    model = create("geometric_gan", DataSpec("vector", (3,)), width=8, decay=0.5)
    model.critic.head.weight.data.fill_(2.0)
    nothing = torch.empty(0)
    assert model.penalties["decay"](model.critic, nothing, nothing).item() == pytest.approx(0.25 * 8 * 4.0)


def test_a_historical_average_is_the_mean_of_the_past_and_pulls_towards_it() -> None:
    player = nn.Linear(1, 1, bias=False)
    average = HistoricalAverage(player, weight=3.0)
    nothing = torch.empty(0)
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(player.weight, value)
        with torch.no_grad():
            average.move({})
    assert average.mean_0.item() == pytest.approx(3.0)
    penalty = average(player, nothing, nothing)
    assert penalty.item() == pytest.approx(3 * 9.0)
    (slope,) = torch.autograd.grad(penalty, player.weight)
    assert slope.item() == pytest.approx(3 * 2 * 3.0)
    assert list(average.parameters()) == []  # it watches; it does not own
    assert {"mean_0", "rounds"} == set(dict(average.named_buffers()))
    assert average.state_dict() == {}


def game_with_memory() -> GAN:
    with seeded("memory"):
        generator, critic = nn.Linear(1, 1), nn.Linear(1, 1)
    mine, theirs = HistoricalAverage(critic, 0.1), HistoricalAverage(generator, 0.1)
    model = GAN(
        generator,
        critic,
        latent=1,
        penalties={"memory": mine},
        contents={"memory": theirs},
        after_critic=mine.move,
        after_generator=theirs.move,
        optimizer=adam(0.1),
        batch=16,
    )
    model.spec = LINE
    return model


def test_averages_of_both_players_train_copy_and_resume() -> None:
    data = load_data(torch.randn(200, 1).numpy())
    whole = game_with_memory()
    Trainer(whole, data, Budget(steps=12), seed=0).run()
    assert whole.penalties["memory"].rounds.item() == 12
    assert whole.contents["memory"].rounds.item() == 12
    twin = copy.deepcopy(whole)
    assert twin.penalties["memory"].watched[0] is twin.critic
    assert any(buffer is whole.penalties["memory"].mean_0 for buffer in whole.buffers())


def test_clipped_weights_stay_in_their_box_and_copies_clip_their_own() -> None:
    data = load_data(torch.randn(200, 3).numpy())
    model = create("wgan", data, width=8, latent=2, clip=0.02, rate=0.1)
    twin = copy.deepcopy(model)
    Trainer(model, data, Budget(steps=12), seed=0).run()
    largest = torch.cat([weight.flatten() for weight in model.critic.parameters()]).abs()
    assert largest.max().item() == pytest.approx(0.02)
    assert all((weight <= 0.02).all() for weight in model.critic.parameters())
    assert max(weight.abs().max() for weight in model.generator.parameters()) > 0.1
    before = [weight.clone() for weight in model.critic.parameters()]
    with torch.no_grad():
        assert twin.after_critic is not None
        twin.after_critic({})
    assert all(weight.abs().max() <= 0.02 for weight in twin.critic.parameters())
    assert all(torch.equal(was, now) for was, now in zip(before, model.critic.parameters(), strict=True))


@pytest.mark.parametrize("shift", [0.5, 2.0, 4.0])
def test_a_clipped_linear_critic_estimates_the_box_times_the_shift(shift: float) -> None:
    """The supremum over |w| <= c of w (m_p - m_q) is c |m_p - m_q|."""
    critic = nn.Linear(1, 1)
    clip = partial(clip_weights, critic, 0.1)
    optimizer = rmsprop(0.05)(critic.parameters())
    x = torch.linspace(-1, 1, 64)[:, None]
    for _ in range(20):
        optimizer.zero_grad()
        wasserstein.critic(critic(x), critic(x + shift)).backward()
        optimizer.step()
        with torch.no_grad():
            clip({})
    assert -wasserstein.critic(critic(x), critic(x + shift)).item() == pytest.approx(0.1 * shift, rel=1e-4)


def test_a_penalised_critic_measures_how_far_two_clouds_are_apart() -> None:
    """N(0, I) in the plane and the same moved by (3, 0): W1 = 3, and |grad s| = 1 on the way."""
    with seeded("clouds"):
        critic = critic_for(DataSpec("vector", (2,)), 32)
        optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3, betas=(0.0, 0.9))
        penalty = GradientPenalty(10.0)
        move = torch.tensor([3.0, 0.0])
        for step in range(250):
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 250)
            real, fake = torch.randn(128, 2), torch.randn(128, 2) + move
            loss = wasserstein.critic(critic(real), critic(fake)) + penalty(critic, real, fake)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        real = torch.randn(4000, 2)
        gap = -wasserstein.critic(critic(real), critic(real + move)).item()
        on_the_way = (real + torch.rand(4000, 1) * move).requires_grad_()
        slopes = torch.autograd.grad(critic(on_the_way).sum(), on_the_way)[0].norm(dim=1)
    # penalised, not constrained: the best straight critic has slope 1 + 3 / 20
    assert gap == pytest.approx(3 * 1.15, rel=0.06)
    assert slopes.mean().item() == pytest.approx(1.15, abs=0.1)


def test_spectral_critics_are_lipschitz() -> None:
    with seeded("spectral"):
        critic = critic_for(DataSpec("vector", (5,)), 16, normalisation="spectral")
        x, y = torch.randn(2, 1000, 5)
        for _ in range(50):
            critic(x[:2])  # in training mode: a power iteration each
        critic.eval()
        with torch.no_grad():
            rise = (critic(x) - critic(y)).abs()[:, 0]
            for layer in critic.modules():
                if isinstance(layer, nn.Linear):
                    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, abs=1e-2)
    assert (rise <= 1.01 * (x - y).norm(dim=1)).all()


def test_penalties_below_zero_are_refused() -> None:
    for name, option in (("wgan_gp", "penalty"), ("ebgan", "apart"), ("geometric_gan", "decay")):
        with pytest.raises(OptionError, match=f"{option}=-0.1 is not allowed"):
            create(name, LINE, **{option: -0.1})


def test_lazy_penalties_take_turns_of_their_own() -> None:
    model = GAN(nn.Linear(1, 1), nn.Linear(1, 1), latent=1, penalties={"slope": GradientPenalty(10.0, every=4)})
    model.spec = LINE
    critic, lazy, _ = model.players()
    assert lazy.every == 4
    assert "slope" not in critic.loss(Batch(torch.randn(4, 1)))
