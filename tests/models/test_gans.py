"""Adversarial networks: golden numbers of the objectives, laws of the game, structure of the networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from exnihilo.core import Batch, Column, DataSpec, ModelError, Noise, Player, create, seeded
from exnihilo.core.optimizers import adam
from exnihilo.data import load_data
from exnihilo.evaluation.modes import mode_values
from exnihilo.models.gans import GAN, R1, GradientPenalty, Objective
from exnihilo.models.gans.objectives import hinge, least_squares, minimax, nonsaturating, wasserstein
from exnihilo.models.gans.outputs import TableOutput
from exnihilo.models.gans.recipes import lazy_r1, sized
from exnihilo.nets.dcgan import StridedCritic, StridedGenerator
from exnihilo.training import Budget, Trainer

REAL = torch.tensor([1.2, -0.3, 0.5], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.1, 0.9], dtype=torch.float64)
LINE = DataSpec("vector", (1,))
DIGITS = DataSpec("image", (1, 8, 8), levels=17)
TABLE = DataSpec(
    "table",
    (6,),
    columns=(
        Column("kind", "category", 0, 3, categories=("a", "b", "c")),
        Column("size", "number", 3, 2, missing=True),
        Column("age", "number", 5, 1, mean=20.0, scale=4.0, step=1.0),
    ),
)


def play(model: GAN, data: Callable[[int], Tensor], rounds: int, only: str = "") -> None:
    """The round of players in its simplest form; `only` lets just one of them move."""
    model.train()
    moves: list[tuple[Player, torch.optim.Optimizer]] = [
        (player, (player.optimizer or model.optimizer)(player.module.parameters()))
        for player in model.players()
        if only in player.name
    ]
    for _ in range(rounds):
        for player, optimizer in moves:
            model.requires_grad_(False)
            player.module.requires_grad_(True)
            terms = player.loss(Batch(data(model.batch)))
            optimizer.zero_grad()
            sum(term for term in terms.values() if term.requires_grad).backward()
            optimizer.step()


# -- objectives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "critic", "generator"),
    [
        (minimax, 1.326817, -0.796246),
        (nonsaturating, 1.326817, 0.696246),
        (least_squares(), 0.548333, 0.618333),
        (least_squares(-1.0, 1.0, 0.0), 1.148333, 0.218333),
        (wasserstein, -0.366667, -0.1),
        (hinge, 1.7, -0.1),
    ],
)
def test_objectives_have_their_golden_values(objective: Objective, critic: float, generator: float) -> None:
    assert objective.critic(REAL, FAKE).item() == pytest.approx(critic, abs=1e-5)
    assert objective.generator(FAKE, None).item() == pytest.approx(generator, abs=1e-5)


def test_the_generators_gradient_dies_in_minimax_and_lives_in_nonsaturating() -> None:
    score = torch.tensor([-8.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    for objective, expected in ((minimax, -score.sigmoid()), (nonsaturating, score.sigmoid() - 1)):
        (gradient,) = torch.autograd.grad(objective.generator(score, None) * 3, score)
        torch.testing.assert_close(gradient, expected.detach())
        assert gradient[1].item() == pytest.approx(-0.5)


def test_hinge_ignores_scores_beyond_the_margin() -> None:
    real = torch.tensor([1.5, 0.5], requires_grad=True)
    fake = torch.tensor([-1.5, 0.5], requires_grad=True)
    slopes = torch.autograd.grad(hinge.critic(real, fake), (real, fake))
    assert slopes[0].tolist() == [0.0, -0.5]
    assert slopes[1].tolist() == [0.0, 0.5]


def test_paired_objectives_see_the_reals_in_the_generators_turn_and_refuse_accumulation() -> None:
    def relativistic(high: Tensor, low: Tensor) -> Tensor:
        return softplus(low.mean() - high).mean() + softplus(low - high.mean()).mean()

    objective = Objective(relativistic, lambda fake, real: relativistic(fake, real), paired=True)  # type: ignore[arg-type]
    assert objective.critic(REAL, FAKE).item() == pytest.approx(1.148031, abs=1e-5)
    assert objective.generator(FAKE, REAL).item() == pytest.approx(1.881365, abs=1e-5)
    model = GAN(nn.Linear(2, 1), nn.Linear(1, 1), latent=2, objective=objective)
    model.spec = LINE
    x = torch.randn(8, 1)
    with seeded("turn"):
        loss = model.generator_loss(Batch(x))["adversarial"]
    with seeded("turn"):
        fake = model.critic(model.generator(torch.randn(8, 2)))
    torch.testing.assert_close(loss, relativistic(fake, model.critic(x)))
    assert all(player.coupled for player in model.players())


# -- penalties -------------------------------------------------------------------------------------------------------


def test_penalties_of_a_linear_critic_are_closed_forms() -> None:
    critic = nn.Linear(3, 1, dtype=torch.float64)
    real, fake = torch.randn(2, 5, 3, dtype=torch.float64)
    length = critic.weight.norm()
    torch.testing.assert_close(R1(4.0)(critic, real, fake), 2 * length**2)
    torch.testing.assert_close(GradientPenalty(10.0)(critic, real, fake), 10 * (length - 1) ** 2)
    (gradient,) = torch.autograd.grad(R1(4.0)(critic, real, fake), critic.weight)
    torch.testing.assert_close(gradient, 4 * critic.weight)


def test_r1_is_taken_at_the_reals_and_the_gradient_penalty_between() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * x.square().sum(dim=1)  # its slope at x is x

    real, fake = torch.full((64, 1), 3.0), torch.full((64, 1), 5.0)
    assert R1(2.0)(Square(), real, fake).item() == pytest.approx(9.0)
    assert GradientPenalty(1.0, target=4.0)(Square(), real, fake).item() == pytest.approx(1 / 3, abs=0.1)  # E (u-4)^2
    assert GradientPenalty(1.0, target=3.0)(Square(), real, real).item() == pytest.approx(0.0, abs=1e-6)


def test_lazy_penalties_are_players_of_the_critic_and_others_are_terms() -> None:
    model = GAN(nn.Linear(2, 1), nn.Linear(1, 1), latent=2, penalties={"now": R1(1.0), "lazy": R1(1.0, every=8)})
    model.spec = LINE
    critic, lazy, generator = model.players()
    assert (critic.name, lazy.name, generator.name) == ("critic", "critic", "generator")
    assert (critic.every, lazy.every) == (1, 8)
    assert lazy.module is critic.module
    batch = Batch(torch.randn(4, 1))
    terms = critic.loss(batch)
    assert {name for name, term in terms.items() if term.requires_grad} == {"adversarial", "now"}
    assert set(terms) - {"adversarial", "now"} == {"score/real", "score/fake", "accuracy"}
    assert set(lazy.loss(batch)) == {"lazy"}
    assert not model.compilable
    assert model.validate(batch) == {}


# -- the game --------------------------------------------------------------------------------------------------------


def test_the_best_critic_is_the_log_ratio_of_the_densities() -> None:
    """p = N(0, 1), q = N(1, 1): s*(x) = 1/2 - x, and the value of the game is -1.16345."""
    generator = nn.Linear(1, 1)
    nn.init.ones_(generator.weight)
    nn.init.ones_(generator.bias)
    model = GAN(generator, nn.Linear(1, 1), latent=1, optimizer=adam(0.02), batch=4096)
    model.spec = LINE
    with seeded("critic"):
        play(model, lambda n: torch.randn(n, 1), 300, only="critic")
        value = -model.critic_loss(Batch(torch.randn(200_000, 1)))["adversarial"]
    assert model.critic.weight.item() == pytest.approx(-1.0, abs=0.1)
    assert model.critic.bias.item() == pytest.approx(0.5, abs=0.1)
    assert value.item() == pytest.approx(-1.16345, abs=0.01)
    assert generator.bias.item() == 1.0  # the critic's turn leaves the generator alone


@pytest.mark.parametrize("objective", [nonsaturating, minimax, hinge, least_squares()])
def test_an_affine_generator_finds_the_mean_of_a_gaussian(objective: Objective) -> None:
    with seeded("affine"):
        model = GAN(
            nn.Linear(1, 1),
            nn.Linear(1, 1),  # sees means only
            latent=1,
            objective=objective,
            penalties={"r1": R1(1.0)},
            optimizer=adam(0.03, betas=(0.0, 0.99)),
            batch=256,
        )
        model.spec = LINE
        play(model, lambda n: 3 + 0.5 * torch.randn(n, 1), 500)
    assert model.generator.bias.item() == pytest.approx(3.0, abs=0.25)


def test_a_penalised_wasserstein_critic_estimates_the_distance() -> None:
    """W1 of two Gaussians that differ by a shift is its length: 3 here."""
    with seeded("wasserstein"):
        generator = nn.Linear(1, 1)
        nn.init.ones_(generator.weight)
        nn.init.constant_(generator.bias, 3.0)
        model = GAN(
            generator,
            nn.Linear(1, 1),
            latent=1,
            objective=wasserstein,
            penalties={"lipschitz": GradientPenalty(10.0)},
            optimizer=adam(0.02),
            batch=1024,
        )
        model.spec = LINE
        play(model, lambda n: torch.randn(n, 1), 300, only="critic")
        gap = -model.critic_loss(Batch(torch.randn(100_000, 1)))["adversarial"]
    # the linear critic's best slope w maximises 3 w - 10 (w - 1)^2
    assert gap.item() == pytest.approx(3 * (1 + 3 / 20), rel=0.03)


def test_accuracy_tells_whether_the_critic_wins() -> None:
    model = GAN(nn.Linear(2, 1), nn.Linear(1, 1), latent=2)
    model.spec = LINE
    nn.init.constant_(model.generator.bias, -100.0)
    nn.init.ones_(model.critic.weight)
    nn.init.zeros_(model.critic.bias)
    terms = model.critic_loss(Batch(torch.full((8, 1), 100.0)))
    assert terms["accuracy"].item() == 1.0
    assert terms["score/real"].item() > 0 > terms["score/fake"].item()
    assert model.critic_loss(Batch(torch.full((8, 1), -300.0)))["accuracy"].item() == 0.0  # it prefers the fakes


def test_reals_and_fakes_reach_the_critic_with_the_same_dequantising_noise() -> None:
    model = create("gan", TABLE, width=8)
    seen: list[Tensor] = []
    model.critic.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = TABLE.quantise(torch.randn(256, 6))
    with seeded("look"):
        next(iter(model.players())).loss(Batch(x))
    real, fake = seen
    for side in (real, fake):
        assert side[:, :3].min() < 0
        assert (side[:, :3].sum(dim=1) - 1).abs().max() > 0.1  # no bare category
        assert (side[:, 5] / 0.25 % 1).std() > 0.1  # no bare step
    assert (real[x[:, 4] > 0.5, 3] != 0).all()  # a missing number is filled


# -- recipes ---------------------------------------------------------------------------------------------------------

SHAPES = [(1, 8, 8), (3, 16, 16), (1, 28, 28), (1, 9, 7), (1, 2, 2), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_dcgan_keeps_the_five_guidelines(shape: tuple[int, ...]) -> None:
    model = create("dcgan", DataSpec("image", shape, levels=256), width=8, critic_norm="batch", penalty=0.0)
    generator, critic = model.generator[0], model.critic
    kinds = [type(layer).__name__ for layer in model.modules()]
    assert not any("Pool" in kind or kind in ("Linear", "Upsample") for kind in kinds)
    convolutions = [layer for layer in generator.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert all(layer.stride == (2, 2) for layer in convolutions[1:])
    assert [type(layer).__name__ for layer in generator.layers][1:] == [
        *["ConvTranspose2d", "BatchNorm", "ReLU"] * (len(convolutions) - 1),
        "ConvTranspose2d",  # no normalisation at the output
    ]
    assert isinstance(model.generator[1], nn.Tanh)
    strided = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    assert all(layer.stride == (2, 2) for layer in strided)
    assert [type(layer).__name__ for layer in critic.layers] == [
        "Conv2d",  # no normalisation at the input
        "LeakyReLU",
        *["Conv2d", "BatchNorm", "LeakyReLU"] * (len(strided) - 1),
    ]
    assert all(layer.negative_slope == 0.2 for layer in critic.layers if isinstance(layer, nn.LeakyReLU))
    x = model.sample(3, seed=0)
    assert x.shape == (3, *shape)
    assert x.abs().max() <= 1
    assert critic(x).shape == (3, 1)


def test_dcgan_starts_from_small_weights_and_doubles_its_channels() -> None:
    generator, critic = StridedGenerator(100, (3, 64, 64), 128), StridedCritic((3, 64, 64), 128)
    assert [layer.out_channels for layer in generator.layers if isinstance(layer, nn.ConvTranspose2d)] == [
        1024, 512, 256, 128, 3,
    ]  # fmt: skip
    assert [layer.out_channels for layer in critic.layers if isinstance(layer, nn.Conv2d)] == [128, 256, 512, 1024]
    for layer in (generator.layers[1], critic.head, critic.layers[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, abs=0.001)


def test_options_choose_the_normalisation() -> None:
    plain = create("dcgan", DIGITS, width=8, norm="none", critic_norm="none")
    assert not any("Norm" in type(layer).__name__ for layer in plain.modules())
    bounded = create("dcgan", DataSpec("image", (1, 28, 28), levels=256), width=8)
    for layer in bounded.critic.modules():
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ModelError, match="halved"):
        create("dcgan", DataSpec("image", (1, 1, 8), levels=2))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("gan", DIGITS),
        ("gan", DataSpec("vector", (2,))),
        ("gan", DataSpec("vector", (13,), levels=2)),
        ("gan", TABLE),
        ("dcgan", DIGITS),
    ],
)
def test_recipes_play_and_can_sample_and_decode_only(name: str, spec: DataSpec) -> None:
    model = create(name, spec, width=8, latent=4)
    assert model.capabilities == ("sample", "decode")
    x = spec.quantise(torch.randn(16, *spec.shape))
    with seeded("round"):
        for player in model.players():
            terms = player.loss(Batch(x))
            assert all(term.isfinite() for term in terms.values())
            assert any(term.requires_grad for term in terms.values())
    many = model.sample(9, seed=3)
    assert many.shape == (9, *spec.shape)
    z = Noise(3, range(4)).normal(4)
    with torch.no_grad():
        torch.testing.assert_close(model.decode(z), many[:4])
    torch.testing.assert_close(model.sample(4, seed=3), many[:4])


def test_critic_steps_and_objective_are_options() -> None:
    model = create("gan", DIGITS, width=8, critic_steps=5, objective="minimax", penalty=0.0)
    critic, generator = model.players()
    assert (critic.steps, generator.steps) == (5, 1)
    assert model.objective is minimax
    assert model.compilable


def test_outputs_are_values_the_data_can_take() -> None:
    x = TableOutput(TABLE.columns)(3 * torch.randn(50, 6))
    torch.testing.assert_close(x[:, :3].sum(dim=1), torch.ones(50))
    assert (x[:, :3] >= 0).all()
    assert ((x[:, 4] >= 0) & (x[:, 4] <= 1)).all()
    assert x[:, 3].abs().max() > 1  # numbers are unbounded
    bits = create("gan", DataSpec("vector", (5,), levels=2), width=8).sample(50, seed=0)
    assert ((bits >= 0) & (bits <= 1)).all()


def test_a_sample_does_not_know_its_neighbours() -> None:
    """In eval mode a batch-normalised generator uses running statistics, near those of a batch."""
    with seeded("statistics"):
        model = create("dcgan", DIGITS, width=8, latent=4)
        play(model, lambda n: torch.randn(n, 1, 8, 8).tanh(), 60)
        model.eval()
        z = torch.randn(512, 4)
        with torch.no_grad():
            alone = torch.cat([model.decode(one) for one in z.split(1)])
            together = model.decode(z)
            model.train()
            by_batch = model.decode(z)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)
    assert (together - by_batch).square().mean() < 0.1 * together.var()


def test_sampling_amid_training_leaves_the_players_in_training_mode() -> None:
    """The trainer has the players' modules in training mode and the model itself not."""
    model = create("dcgan", DIGITS, width=8)
    model.generator.train()
    modes = [part.training for part in model.modules()]
    seen: list[bool] = []
    model.generator.register_forward_pre_hook(lambda module, inputs: seen.append(module.training))
    model.sample(2, seed=0)
    assert seen == [False]
    assert [part.training for part in model.modules()] == modes


# -- a few numbers ---------------------------------------------------------------------------------------------------


def test_a_game_on_a_few_numbers_is_small_and_fast_and_its_penalty_light() -> None:
    few, many, picture = DataSpec("vector", (2,)), DataSpec("vector", (40,)), DataSpec("image", (1, 4, 4), levels=2)
    assert sized(few, None, None) == (64, 5e-3)
    assert sized(many, None, None, (128, 2e-3)) == (128, 2e-3)
    assert sized(few, 9, 0.5) == (9, 0.5)
    weights = [lazy_r1(2.0, 4, data)["r1"] for data in (few, many, picture)]
    assert weights == [R1(2 * 2 / 64, 4), R1(2 * 40 / 64, 4), R1(2.0, 4)]
    assert lazy_r1(0.0, 4, few) == {}


def test_a_spectral_critic_is_as_steep_as_it_may_be() -> None:
    with seeded("steep"):
        slow, fast = (create("sngan", DataSpec("vector", (2,)), seed=0, width=16, slope=k).critic for k in (1.0, 30.0))
        x = torch.randn(50, 2)
    torch.testing.assert_close(30 * slow(x), fast(x))
    assert torch.autograd.functional.jacobian(lambda p: slow(p).sum(), x).norm(dim=1).max() < 1.05


def test_the_ring_is_covered() -> None:
    """The defaults for a few numbers, in a sixth of twenty seconds."""
    data = load_data("ring8", noise=0.05)
    model = create("gan", data, seed=0)
    Trainer(model, data, Budget(steps=1200), seed=0).run()
    found = mode_values(model.sample(2500, seed=0), data, "")
    assert found["modes_covered"].value >= 7
