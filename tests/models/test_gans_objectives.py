"""Adversarial objectives: golden numbers, closed forms of the best critic, invariances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, Noise, OptionError, create, seeded
from exnihilo.models.gans import GAN, Objective
from exnihilo.models.gans.discrete import DiscreteGAN, weighted_log_prob
from exnihilo.models.gans.objectives import (
    boundary_seeking,
    bregman,
    density_ratio,
    hinge,
    hinge_cost,
    kl_ratio,
    least_squares,
    logistic_cost,
    logistic_ratio,
    margin,
    margin_energy,
    minimax,
    pearson_ratio,
    positive,
    relativistic,
    relativistic_average,
    smoothed,
    squared_cost,
)

REAL = torch.tensor([1.2, -0.3, 0.5], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.1, 0.9], dtype=torch.float64)
BITS = DataSpec("vector", (4,), levels=2)


@pytest.mark.parametrize(
    ("objective", "critic", "generator"),
    [
        (smoothed(0.9), 1.373484, 0.696246),
        (boundary_seeking, 1.326817, 0.218333),
        (density_ratio, 1.326817, -0.1),
        (margin(1.0), 0.933333, -0.1),
        (relativistic_average(logistic_cost), 1.148031, 1.881365),
        (relativistic_average(squared_cost), 1.604444, 4.537778),
        (relativistic_average(hinge_cost), 1.355556, 2.733333),
        (relativistic(logistic_cost), 0.655139, 1.021806),
    ],
)
def test_objectives_have_their_golden_values(objective: Objective, critic: float, generator: float) -> None:
    assert objective.critic(REAL, FAKE).item() == pytest.approx(critic, abs=1e-5)
    assert objective.generator(FAKE, REAL).item() == pytest.approx(generator, abs=1e-5)


def minimiser(objective: Objective, p: Tensor, q: Tensor) -> Tensor:
    """The scores of K points that minimise the critic's loss when reals are 60 p and fakes 60 q."""
    score = torch.zeros(len(p), dtype=torch.float64, requires_grad=True)
    real = torch.repeat_interleave(torch.arange(len(p)), (60 * p).round().long())
    fake = torch.repeat_interleave(torch.arange(len(q)), (60 * q).round().long())
    solver = torch.optim.LBFGS([score], max_iter=60, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = objective.critic(score[real], score[fake])
        loss.backward()
        return loss

    solver.step(closure)
    return score.detach()


P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_the_best_critics_of_three_points_are_the_closed_forms() -> None:
    for low, high, target in ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0)):
        best = minimiser(least_squares(low, high, target), P, Q)
        torch.testing.assert_close(best, (high * P + low * Q) / (P + Q), atol=1e-4, rtol=0)
    torch.testing.assert_close(minimiser(minimax, P, Q), (P / Q).log(), atol=1e-4, rtol=0)
    torch.testing.assert_close(minimiser(smoothed(0.9), P, Q), (0.9 * P / (Q + 0.1 * P)).log(), atol=1e-4, rtol=0)


def test_least_squares_with_codes_minus_one_one_zero_is_a_chi_squared_divergence() -> None:
    objective = least_squares(-1.0, 1.0, 0.0)
    best = minimiser(objective, P, Q)
    chi = ((2 * Q - (P + Q)).square() / (P + Q)).sum()
    both = 0.5 * (P * best.square()).sum() + 0.5 * (Q * best.square()).sum()  # the generator's side, reals included
    assert 2 * both.item() == pytest.approx(chi.item(), abs=1e-4)


def test_hinge_with_decay_is_a_linear_support_vector_machine() -> None:
    from sklearn.svm import LinearSVC

    with seeded("svm"):
        real = torch.randn(60, 2, dtype=torch.float64) + torch.tensor([2.0, 1.0])
        fake = torch.randn(60, 2, dtype=torch.float64)
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.2)
    for step in range(500):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 500) ** 2
        loss = 0.005 * weight.square().sum() + hinge.critic(
            real @ weight[:2] + weight[2], fake @ weight[:2] + weight[2]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    machine = LinearSVC(loss="hinge", C=1 / (60 * 0.01), max_iter=100_000, tol=1e-8)
    machine.fit(torch.cat([real, fake]).numpy(), [1] * 60 + [0] * 60)
    normal = torch.tensor(machine.coef_[0])
    assert torch.cosine_similarity(normal, weight.detach()[:2], dim=0).item() > 0.999


@pytest.mark.parametrize("cost", [logistic_cost, squared_cost, hinge_cost])
def test_relativistic_objectives_do_not_see_a_common_shift(cost) -> None:
    for objective in (relativistic(cost), relativistic_average(cost)):
        for loss in (objective.critic, lambda real, fake, o=objective: o.generator(fake, real)):
            assert loss(REAL + 7, FAKE + 7).item() == pytest.approx(loss(REAL, FAKE).item(), abs=1e-12)
        assert objective.critic(REAL + 1, FAKE).item() != pytest.approx(objective.critic(REAL, FAKE).item())
        assert objective.paired


def test_relativistic_averages_of_equal_scores_are_at_the_fixed_point() -> None:
    real = torch.full((4, 1), 0.3, requires_grad=True)
    fake = torch.full((4, 1), 0.3, requires_grad=True)
    objective = relativistic_average(logistic_cost)
    loss = objective.critic(real, fake)
    assert loss.item() == pytest.approx(2 * math.log(2))
    slopes = torch.autograd.grad(loss, (real, fake))
    torch.testing.assert_close(slopes[0], -slopes[1])
    (through_the_mean,) = torch.autograd.grad(objective.generator(fake, real), real)
    assert through_the_mean.abs().min() > 0  # the means carry gradients


def test_fakes_beyond_the_margin_do_not_move_an_energy_critic() -> None:
    """Scores are minus energies: e_r + relu(m - e_f)."""
    real = torch.tensor([-0.2, -0.4], requires_grad=True)
    fake = torch.tensor([-3.0, -0.5], requires_grad=True)
    objective = margin_energy(1.0)
    loss = objective.critic(real, fake)
    assert loss.item() == pytest.approx(0.3 + 0.25)
    slopes = torch.autograd.grad(loss, (real, fake))
    assert slopes[0].tolist() == [-0.5, -0.5]
    assert slopes[1].tolist() == [0.0, 0.5]
    assert objective.generator(fake, None).item() == pytest.approx(1.75)


def test_the_boundary_is_where_the_continuous_generator_rests() -> None:
    score = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    (slope,) = torch.autograd.grad(boundary_seeking.generator(score, None), score)
    torch.testing.assert_close(slope, score.detach() / 3)


# -- density ratios --------------------------------------------------------------------------------------------------

R_REAL = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
R_FAKE = torch.tensor([0.4, 1.1, 1.5], dtype=torch.float64)


def as_is(ratio: Tensor) -> Tensor:
    return ratio


def test_ratio_objectives_have_their_golden_values() -> None:
    pearson, kl = bregman(pearson_ratio, ratio=as_is), bregman(kl_ratio, ratio=as_is)
    # the golden h are r^2 / 2 and r log r: less a linear function, which no Bregman divergence sees
    assert pearson.critic(R_REAL, R_FAKE).item() - 0.5 == pytest.approx(-0.563333, abs=1e-5)
    assert pearson.generator(R_FAKE, None).item() == pytest.approx(0.103333, abs=1e-5)
    assert kl.critic(R_REAL, R_FAKE).item() == pytest.approx(1.0, abs=1e-5)
    assert kl.generator(R_FAKE, None).item() + R_FAKE.mean().item() == pytest.approx(0.115508, abs=1e-5)


def test_the_logistic_ratio_is_the_critic_of_the_original_game() -> None:
    logistic = bregman(logistic_ratio, ratio=torch.exp)
    assert logistic.critic(REAL, FAKE).item() == pytest.approx(minimax.critic(REAL, FAKE).item(), abs=1e-6)


@pytest.mark.parametrize("convex", [pearson_ratio, kl_ratio, logistic_ratio])
@pytest.mark.parametrize("relative", [0.0, 0.3])
def test_the_best_ratio_is_the_ratio(convex, relative) -> None:
    score = minimiser(bregman(convex, relative=relative), P, Q)
    torch.testing.assert_close(positive(score), P / (relative * P + (1 - relative) * Q), atol=1e-4, rtol=0)


def test_a_linear_ratio_by_least_squares_solves_its_normal_equations() -> None:
    """r = theta . phi(x) with h = r^2 / 2: H theta = E_p phi, H = E_q phi phi^T (unconstrained fitting of ratios)."""
    normal = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)

    def features(x: Tensor) -> Tensor:
        return torch.stack([torch.exp(-0.5 * (x - centre) ** 2) for centre in range(-2, 4)], dim=1)

    real, fake = features(normal), features(normal + 1)
    exact = torch.linalg.solve(fake.T @ fake / len(fake), real.mean(dim=0))
    theta = exact.clone().requires_grad_()
    (slope,) = torch.autograd.grad(bregman(pearson_ratio, ratio=as_is).critic(real @ theta, fake @ theta), theta)
    assert slope.abs().max().item() < 1e-10
    points = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(features(points) @ exact, (0.5 - points).exp(), rtol=0.2, atol=0)


# -- discrete data ---------------------------------------------------------------------------------------------------


def test_weighted_draws_have_the_gradient_of_the_cross_entropy() -> None:
    """Every symbol as often as q says, scores log p / q: the gradient in the logits is q - p exactly."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    q = torch.tensor([0.4, 0.1, 0.1, 0.2, 0.2], dtype=torch.float64)
    logits = q.log().requires_grad_()
    drawn = torch.repeat_interleave(torch.arange(5), (10 * q).round().long())
    score = (p / q).log()[drawn, None]
    loss = weighted_log_prob(score, logits.log_softmax(dim=0)[drawn, None])
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, q - p, atol=1e-6, rtol=0)


def discrete_game(data: DataSpec, draws: int) -> DiscreteGAN:
    model = DiscreteGAN(nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 4))), nn.Linear(4, 1), latent=3, draws=draws)
    model.spec = data
    return model


def test_the_games_own_draws_have_that_gradient_on_average() -> None:
    """An independent p and q of four bits: the best critic is linear, and the gradient in the logits is q - p."""
    model = discrete_game(BITS, draws=2000)
    p = torch.tensor([0.2, 0.4, 0.6, 0.7])
    q = torch.tensor([0.3, 0.5, 0.5, 0.5])
    with torch.no_grad():
        model.generator[0].weight.zero_()
        model.generator[0].bias.copy_(torch.cat([(1 - q).log(), q.log()]))
        model.critic.weight.copy_((p / (1 - p) / (q / (1 - q))).log())
        model.critic.bias.zero_()  # a constant cancels in the weights
    with seeded("draws"):
        loss = model.generator_loss(Batch(torch.zeros(200, 4)))["adversarial"]
    (slope,) = torch.autograd.grad(loss, model.generator[0].bias)
    torch.testing.assert_close(slope, torch.cat([p - q, q - p]), atol=0.01, rtol=0)


def test_discrete_samples_are_levels_and_their_mean_is_what_is_decoded() -> None:
    model = discrete_game(BITS, draws=4)
    drawn = model.sample(2000, seed=0)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    z = Noise(0, range(2000)).normal(3)
    with torch.no_grad():
        mean = model.decode(z)
    assert (drawn.mean(dim=0) - mean.mean(dim=0)).abs().max() < 0.05
    assert model.fakes(Batch(torch.zeros(50, 4))).unique().tolist() == [0.0, 1.0]
    terms = model.generator_loss(Batch(torch.zeros(50, 4)))
    assert 1 <= terms["effective draws"].item() <= 4
    assert not terms["effective draws"].requires_grad


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 9, 7)])
def test_bgan_draws_levels_of_few_and_values_of_many(shape: tuple[int, ...]) -> None:
    few = create("bgan", DataSpec("image", shape, levels=2), width=8)
    assert isinstance(few, DiscreteGAN)
    assert set(few.sample(5, seed=0).unique().tolist()) == {-1.0, 1.0}
    many = create("bgan", DataSpec("image", shape, levels=17), width=8)
    assert type(many) is GAN
    assert many.objective is boundary_seeking
    forced = create("bgan", DataSpec("image", shape, levels=17), width=8, discrete_up_to=17)
    assert set(forced.sample(9, seed=0).unique().tolist()) <= set(torch.linspace(-1, 1, 17).tolist())
    x = few.sample(6, seed=1)
    with seeded("round"):
        assert all(term.isfinite() for player in few.players() for term in player.loss(Batch(x)).values())


def test_a_discrete_game_learns_the_shares_of_four_symbols() -> None:
    """Two bits that agree nine times of ten: independent bits cannot, so the latent must carry it."""
    data = DataSpec("vector", (2,), levels=2)
    with seeded("symbols"):
        model = create("bgan", data, width=16, latent=2, penalty=0.1, rate=5e-3)
        model.batch = 128
        first = (torch.rand(4000, 1) < 0.6).float()
        x = torch.cat([first, torch.where(torch.rand(4000, 1) < 0.9, first, 1 - first)], dim=1)
        moves = [(player, player.module.parameters()) for player in model.players()]
        optimizers = {p.name: torch.optim.Adam(w, lr=5e-3, betas=(0.0, 0.99)) for p, w in moves}
        for turn in range(600):
            for player, _ in moves:
                optimizers[player.name].param_groups[0]["lr"] = 5e-3 * (1 - turn / 600)  # a constant one circles on
                if turn % player.every == 0:
                    model.requires_grad_(False)
                    player.module.requires_grad_(True)
                    terms = player.loss(Batch(x[torch.randint(4000, (128,))]))
                    optimizers[player.name].zero_grad()
                    sum(term for term in terms.values() if term.requires_grad).backward()
                    optimizers[player.name].step()
    drawn = model.sample(4000, seed=0)
    mine, theirs = (torch.bincount((v[:, 0] * 2 + v[:, 1]).long(), minlength=4) / 4000 for v in (drawn, x))
    assert 0.5 * (mine - theirs).abs().sum() < 0.15  # total variation; independent bits with these shares: 0.38


# -- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lsgan", "wgan_gp", "ragan", "bgan", "bregman_gan", "fgan"])
def test_a_penalty_below_zero_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=r"penalty=-1 is not allowed.*from 0 to"):
        create(name, BITS, penalty=-1)


def test_variants_are_options() -> None:
    for variant in ("nonsaturating", "least_squares", "hinge"):
        pairs = create("ragan", BITS, width=8, variant=variant, compare="pairs")
        average = create("ragan", BITS, width=8, variant=variant)
        assert pairs.objective.critic(REAL, FAKE) != average.objective.critic(REAL, FAKE)
    assert create("sngan", BITS, width=8).objective is hinge
    assert create("geometric_gan", BITS, width=8).objective is hinge
