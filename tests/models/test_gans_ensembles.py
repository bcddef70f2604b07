"""Ensembles of generators: AdaGAN's weights and stages, the Bayesian GAN's potentials and chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, Noise, create, seeded, sghmc
from exnihilo.data import load_data
from exnihilo.models.gans import GAN, R1
from exnihilo.models.gans.ensembles import AdaGAN, BayesianGAN, member, mixture, reweighted
from exnihilo.models.gans.latents import Normal
from exnihilo.models.gans.recipes import calm_adam
from exnihilo.nets.mlp import MLP
from exnihilo.training import Budget, Trainer

LINE = DataSpec("vector", (1,))


# -- AdaGAN ----------------------------------------------------------------------------------------------------------


def test_weights_have_their_golden_values() -> None:
    limit, weights = reweighted(torch.tensor([0.1, 0.5, 1.0, 2.4], dtype=torch.float64), 0.5)
    assert limit.item() == pytest.approx(0.933333, abs=1e-5)
    assert weights.tolist() == pytest.approx([0.441667, 0.341667, 0.216667, 0], abs=1e-5)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_weights_are_even_where_the_mixture_is_the_data(beta: float) -> None:
    limit, weights = reweighted(torch.ones(7), beta)
    assert limit.item() == pytest.approx(1.0)
    torch.testing.assert_close(weights, torch.full((7,), 1 / 7, dtype=torch.float64))


def test_weights_go_to_the_atom_that_the_mixture_misses() -> None:
    """P even on four atoms, Q on three: at beta = 1/4 the best next part is the fourth alone, and then Q' = P."""
    odds = torch.tensor([4 / 3, 4 / 3, 4 / 3, 0.0], dtype=torch.float64)
    torch.testing.assert_close(reweighted(odds, 0.25)[1], torch.tensor([0, 0, 0, 1.0], dtype=torch.float64))
    more = reweighted(odds, 0.5)[1]
    torch.testing.assert_close(0.5 * odds / 4 + 0.5 * more, torch.full((4,), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("beta", [0.05, 0.3, 0.9])
def test_lambda_is_what_bisection_finds(beta: float) -> None:
    generator = torch.Generator().manual_seed(1)
    odds = torch.exp(2 * torch.randn(200, generator=generator, dtype=torch.float64))
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        heavy = ((middle - (1 - beta) * odds).relu().sum() / (200 * beta)).item() > 1
        low, high = (low, middle) if heavy else (middle, high)
    limit, weights = reweighted(odds, beta)
    assert limit.item() == pytest.approx(low, rel=1e-9)
    torch.testing.assert_close(weights, (low - (1 - beta) * odds).relu() / (200 * beta))


def test_members_are_chosen_in_proportion_each_by_its_own_number() -> None:
    shares = torch.tensor([0.5, 0.2, 0.3])
    chosen = member(torch.randn(20_000, generator=torch.Generator().manual_seed(0)), shares)
    torch.testing.assert_close(torch.bincount(chosen) / 20_000, shares, atol=0.02, rtol=0)
    generators = [nn.Linear(2, 1) for _ in range(3)]
    code = torch.tensor([[0.3, 0.1, -9.0], [0.3, 0.1, 0.3], [0.3, 0.1, 9.0]])
    expected = torch.cat([generator(code[:1, :2]) for generator in generators])
    torch.testing.assert_close(mixture(generators, Normal(2), shares, code), expected)


class Blob(nn.Module):
    """One Gaussian of fixed width in the plane: a generator that can make one mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.randn(2))

    def forward(self, z: Tensor) -> Tensor:
        return self.centre + 0.1 * z


def corners(n: int = 1200):
    """Four Gaussians at the corners of a square, of unequal shares."""
    rng = np.random.default_rng(0)
    corner = rng.choice(4, size=n, p=[0.4, 0.3, 0.2, 0.1])
    centre = 2.0 * np.stack([corner % 2, corner // 2], 1)
    return load_data((centre + 0.1 * rng.standard_normal((n, 2))).astype(np.float32))


def boosted(data, parts: int, seed: int) -> AdaGAN:
    with seeded("blobs", seed):
        games = []
        for _ in range(parts):
            game = GAN(
                Blob(), MLP((2,), (1,), 32, 2), latent=2, penalties={"r1": R1(0.2)},
                optimizer=calm_adam(0.05), critic_optimizer=calm_adam(2e-2),
            )  # fmt: skip
            game.spec = data.spec
            games.append(game)
        model = AdaGAN(games, [MLP((2,), (1,), 32, 2) for _ in range(parts - 1)])
    model.spec = data.spec
    return model


def modes_covered(model: AdaGAN, data) -> int:
    """Corners near which at least a twentieth of the samples lies."""
    x, examples = model.sample(400, seed=0), data.first().x
    middle = (examples.min(0).values + examples.max(0).values) / 2
    centres = torch.stack([
        examples[((examples > middle) == torch.tensor(side)).all(1)].mean(0)
        for side in ((False, False), (False, True), (True, False), (True, True))
    ])  # fmt: skip
    distance, nearest = torch.cdist(x, centres).min(1)
    return int((torch.bincount(nearest[distance < 0.5], minlength=4) >= 20).sum())


@pytest.mark.parametrize("seed", range(3))
def test_boosting_covers_modes_that_one_generator_cannot(seed: int) -> None:
    data = corners()
    one, four = boosted(data, 1, seed), boosted(data, 4, seed)
    Trainer(one, data, Budget(steps=150), seed=seed).run()
    trainer = Trainer(four, data, Budget(steps=700), seed=seed)
    trainer.run()
    assert modes_covered(one, data) <= 1
    assert modes_covered(four, data) >= 3
    torch.testing.assert_close(four.shares, torch.full((4,), 0.25))
    assert len(four.weights) == data.counts()["train"]
    assert four.weights.sum().item() == pytest.approx(1.0)
    assert [stage.name for stage in trainer.stages][:3] == ["part 1", "judge 1", "part 2"]


def test_a_part_that_is_not_begun_draws_nothing() -> None:
    model = create("adagan", load_data("ring8"), seed=0, parts=3, width=8, latent=2)
    assert model.shares.tolist() == [1.0, 0.0, 0.0]
    expected = model.games[0].generator(Noise(0, 5).normal(3)[:, :2])
    torch.testing.assert_close(model.sample(5, seed=0), expected)


def test_only_a_judge_is_validated() -> None:
    data = load_data("ring8")
    model = create("adagan", data, seed=0, parts=2, width=8, latent=2)
    trainer, batch = Trainer(model, data, Budget(steps=9), seed=0), data.split("validation").first(32)
    figures = []
    for number, stage in enumerate(trainer.stages):
        trainer.place.stage, trainer.place.entered, trainer.place.round = number, False, 0
        trainer.enter(stage)
        figures.append(set(model.validate(batch)))
    assert figures == [set(), {"judge"}, set()]


# -- Bayesian GAN ----------------------------------------------------------------------------------------------------


def bayesian(generators: int = 3, critics: int = 2, **options) -> BayesianGAN:
    with seeded("members"):
        model = BayesianGAN(
            [MLP((2,), (1,), 8, 1) for _ in range(generators)], [MLP((1,), (1,), 8, 1) for _ in range(critics)],
            latent=2, examples=100, **options,
        )  # fmt: skip
    model.spec = LINE
    return model


def test_potentials_are_mean_losses_and_the_priors_part_of_each_example(monkeypatch) -> None:
    model, batch = bayesian(prior=2.0), Batch(torch.randn(4, 1))
    with seeded("turn"):
        terms = model.generator_loss(batch)
    weights = torch.cat([weight.flatten() for weight in model.generators.parameters()])
    torch.testing.assert_close(terms["prior"], weights.square().sum() / (2 * 2.0**2) / 100)
    with seeded("turn"):
        fakes = [generator(z) for generator, z in zip(model.generators, torch.randn(3, 2, 2), strict=True)]
    expected = sum(
        nn.functional.softplus(-critic(fake)).mean() / 2 for fake in fakes for critic in model.critics
    )  # one potential for each generator, alike against both critics
    torch.testing.assert_close(terms["adversarial"], expected)
    monkeypatch.setattr(DataSpec, "dequantise", lambda spec, x: (x, torch.zeros(len(x))))  # it would draw before them
    with seeded("turn"):
        critics = model.critic_loss(batch)
    real = sum(nn.functional.softplus(-critic(batch.x)).mean() for critic in model.critics)
    fake = sum(nn.functional.softplus(critic(fake)).mean() / 3 for fake in fakes for critic in model.critics)
    torch.testing.assert_close(critics["adversarial"], real + fake)


def test_a_chain_on_the_potential_of_an_example_is_the_chain_on_the_whole() -> None:
    """U / N at rate r and temperature 1 / N moves as U at rate r / N and temperature 1."""
    ends = []
    for examples in (1, 50):
        weight = nn.Parameter(torch.ones(3))
        optimizer = sghmc(1e-2 * examples, friction=0.1, temperature=1 / examples)([weight])
        with seeded("chain"):
            for _ in range(20):
                optimizer.zero_grad()
                (2 * weight.square().sum() / examples).backward()
                optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends)


def test_adam_plays_first_and_the_chains_after_it() -> None:
    burn_in, chains = bayesian(burn_in=0.6, sampler_rate=5e-3, temperature=0.5).stages()
    assert (burn_in.share, chains.share) == (0.6, 0.4)
    first, last = next(iter(burn_in.players())).optimizer, next(iter(chains.players())).optimizer
    assert first is not None
    assert last is not None
    assert first.build is torch.optim.Adam
    assert (last.build, last.rate) == (sghmc(1.0).build, 5e-3)
    assert last.options["temperature"] == 0.5 / 100


def test_members_stay_different_and_each_sample_is_of_one() -> None:
    data = load_data("ring8")
    model = create("bayesian_gan", data, seed=0, width=16, latent=2)
    Trainer(model, data, Budget(steps=60), seed=0).run()
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = torch.stack([generator(z) for generator in model.generators])
    gaps = torch.stack([(drawn[i] - drawn[j]).norm(dim=1).mean() for i in range(4) for j in range(i)])
    assert gaps.min() > 0.05
    code = model.draw_code(Noise(0, 400))
    chosen = member(code[:, 2], torch.full((4,), 0.25))
    assert torch.bincount(chosen).min() > 60
    with torch.no_grad():
        expected = torch.stack([model.generators[k](row[None, :2])[0] for k, row in zip(chosen, code, strict=True)])
    torch.testing.assert_close(model.sample(400, seed=0), expected, atol=1e-5, rtol=1e-4)
