"""Games with an encoder: what the encoder learns, who is taught by what, and golden numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from exnihilo.core import Batch, DataSpec, ModelError, Player, create, seeded
from exnihilo.core.optimizers import adam
from exnihilo.models.gans.encoders import AEGAN, ALI, paired
from exnihilo.models.gans.hybrids import IAN, REAL, REBUILT, SAMPLED, VAEGAN, AlphaGAN, divergence, hidden, named
from exnihilo.models.gans.matching import MeanMatching
from exnihilo.models.gans.objectives import nonsaturating, wasserstein
from exnihilo.models.gans.penalties import R1, Orthogonal
from exnihilo.nets.mlp import MLP
from exnihilo.nets.multiscale import MultiscaleConv, MultiscaleGenerator
from exnihilo.probability.distributions import DiagonalNormal

LINE = DataSpec("vector", (1,))
PLANE = DataSpec("vector", (2,))
DIGITS = DataSpec("image", (1, 8, 8), levels=17, classes=3, class_names=("a", "b", "c"), class_shares=(0.2, 0.3, 0.5))
NAMES = ("ali", "aegan", "alpha_gan", "vaegan", "cvae_gan", "ian")


def play(players: Iterable[Player], model: nn.Module, data: Callable[[int], Tensor], rounds: int, n: int = 128) -> None:
    """The round of players in its simplest form."""
    model.train()
    moves = [(player, (player.optimizer or model.optimizer)(player.module.parameters())) for player in players]
    for _ in range(rounds):
        for player, optimizer in moves:
            model.requires_grad_(False)
            player.module.requires_grad_(True)
            terms = player.loss(Batch(data(n)))
            optimizer.zero_grad()
            sum(term for term in terms.values() if term.requires_grad).backward()
            optimizer.step()
    model.requires_grad_(True).eval()


def slopes(model: nn.Module, player: Player, batch: Batch, *terms: str) -> dict[str, Tensor]:
    """The gradient of some of a player's terms in all parameters of the model, by module."""
    with seeded("slopes"):
        found = player.loss(batch)
    parameters = dict(model.named_parameters())
    total = sum(found[name] for name in terms)
    slope = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, materialize_grads=True)
    norms: dict[str, Tensor] = {}
    for name, gradient in zip(parameters, slope, strict=True):
        part = name.split(".")[0]
        norms[part] = norms.get(part, torch.zeros(())) + gradient.square().sum()
    return norms


def player_of(model: nn.Module, name: str) -> Player:
    return next(player for player in model.players() if player.name == name)


def digits(n: int = 12) -> Batch:
    with seeded("digits"):
        return Batch(DIGITS.quantise(torch.randn(n, 1, 8, 8).clamp(-1, 1)), torch.arange(n) % 3)


# -- pairs -----------------------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """A score linear in x and in the products of its entries, as log-ratios of Gaussians are: [B, size] -> [B, 1]."""

    def __init__(self, size: int):
        super().__init__()
        self.rows, self.columns = torch.triu_indices(size, size)
        self.layer = nn.Linear(size + len(self.rows), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.cat([x, x[:, self.rows] * x[:, self.columns]], dim=1))


def linear_ali() -> ALI:
    calm = adam(2e-2, betas=(0.0, 0.99))
    model = ALI(nn.Linear(1, 1), Quadratic(2), nn.Linear(1, 1), latent=1, penalties={"r1": R1(0.3)}, optimizer=calm)
    model.spec = LINE
    return model


def test_a_linear_encoder_learns_to_invert_what_the_generator_does() -> None:
    """x = 2 z + 1: where the critic cannot tell pairs apart, E(x) = (x - 1) / 2, or with both signs turned."""
    with seeded("line"):
        model = linear_ali()
        play(model.players(), model, lambda n: 2 * torch.randn(n, 1) + 1, 300)
    slope, offset = model.encoder.weight.item(), model.encoder.bias.item()
    assert abs(slope) == pytest.approx(0.5, abs=0.07)
    assert offset == pytest.approx(-slope, abs=0.15)
    x = torch.linspace(-3, 5, 9)[:, None]
    assert (model.reconstruct(x) - x).abs().max() < 0.6


def test_where_pairs_cannot_be_told_apart_the_critic_loses_two_log_two() -> None:
    model = linear_ali()
    with torch.no_grad():
        model.generator.weight.fill_(2.0), model.generator.bias.fill_(1.0)
        model.encoder.weight.fill_(0.5), model.encoder.bias.fill_(-0.5)
    with seeded("optimum"):
        play([player_of(model, "critic")], model, lambda n: 2 * torch.randn(n, 1) + 1, 60, n=512)
        loss = model.critic_loss(Batch(2 * torch.randn(4000, 1) + 1))["adversarial"]
    assert loss.item() == pytest.approx(2 * math.log(2), abs=0.02)


def test_pairs_are_in_order_and_the_encoder_wants_the_opposite() -> None:
    model = create("ali", PLANE, width=8, latent=3)
    batch = Batch(torch.randn(6, 2))
    with seeded("pairs"):
        real, fake = model.reals(batch), model.fakes(batch)
    assert real.shape == fake.shape == (6, 5)
    torch.testing.assert_close(real, paired(batch.x, model.encode(batch.x)))
    torch.testing.assert_close(fake[:, :2], model.decode(fake[:, 2:]))
    with seeded("pairs"):
        terms = model.generator_loss(batch)
    torch.testing.assert_close(terms["encoder"], softplus(model.critic(real)).mean())
    torch.testing.assert_close(terms["generator"], softplus(-model.critic(fake)).mean())
    model.objective = wasserstein
    with seeded("pairs"):
        terms = model.generator_loss(batch)
    torch.testing.assert_close(sum(terms.values()), model.critic(real).mean() - model.critic(fake).mean())


def test_a_stochastic_encoder_draws_and_encodes_its_mean() -> None:
    model = create("ali", PLANE, width=8, latent=3, encoder="stochastic")
    x = torch.randn(6, 2)
    with seeded("draws"):
        draws = torch.stack([model.coded(x) for _ in range(500)])
    codes = DiagonalNormal.of(model.encoder(x))
    torch.testing.assert_close(draws.mean(dim=0), model.encode(x), atol=0.25, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), (0.5 * codes.log_variance).exp(), atol=0.1, rtol=0.15)


# -- the inverse of a frozen generator -------------------------------------------------------------------------------


def test_of_an_invertible_linear_generator_the_inverse_is_found() -> None:
    with seeded("inverse"):
        model = AEGAN(nn.Linear(2, 4), nn.Linear(4, 1), nn.Linear(4, 2), latent=2, inverse_optimizer=adam(2e-2))
        model.spec = DataSpec("vector", (4,))
        with torch.no_grad():
            model.generator.weight.copy_(torch.tensor([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0], [0.5, 0.5]]))
        play(model.inverters(), model, lambda n: torch.randn(n, 4), 400)
        loss = model.inverse_loss(Batch(torch.randn(256, 4)))["inverse"]
    assert loss < 1e-4
    W = model.generator.weight.detach()
    seen = model.encoder.weight @ W  # on the range of G the inverse is the pseudo-inverse
    torch.testing.assert_close(seen, torch.linalg.pinv(W) @ W, atol=0.02, rtol=0)


class Absolute(nn.Module):
    """G(z) = |z|: two latents for every example."""

    def forward(self, z: Tensor) -> Tensor:
        return z.abs()


def test_examples_are_compared_since_latents_have_no_single_inverse() -> None:
    with seeded("absolute"):
        model = AEGAN(Absolute(), nn.Linear(1, 1), MLP((1,), (1,), 16, 1), latent=1, inverse_optimizer=adam(1e-2))
        model.spec = LINE
        play(model.inverters(), model, lambda n: torch.randn(n, 1), 300)
        by_latent = MLP((1,), (1,), 16, 1)
        optimizer = adam(1e-2)(by_latent.parameters())
        for _ in range(300):
            z = torch.randn(128, 1)
            optimizer.zero_grad()
            (by_latent(z.abs()) - z).square().mean().backward()
            optimizer.step()
        x = torch.randn(500, 1).abs()
    assert (model.reconstruct(x) - x).square().mean() < 0.02 * x.var()
    assert (by_latent(x).abs() - x).square().mean() > x.var()


def test_the_generator_plays_in_the_first_stage_only() -> None:
    model = create("aegan", PLANE, width=8, latent=3, share=0.25)
    game, inverse = model.stages()
    assert (game.share, inverse.share) == (0.75, 0.25)
    moved = {id(weight) for player in inverse.players() for weight in player.module.parameters()}
    assert moved == {id(weight) for weight in model.encoder.parameters()}
    assert not moved & {id(weight) for player in game.players() for weight in player.module.parameters()}


# -- critics of examples and of codes --------------------------------------------------------------------------------


def alpha() -> AlphaGAN:
    model = create("alpha_gan", PLANE, width=8, latent=2, weight=7.0)
    assert isinstance(model, AlphaGAN)
    return model


def test_higher_scores_are_what_encoder_and_generator_want() -> None:
    """R = -log D + log(1 - D) = -s."""
    model, batch = alpha(), Batch(torch.randn(8, 2))
    with seeded("alpha"):
        terms = player_of(model, "encoder").loss(batch)
    z = model.encode(batch.x)
    torch.testing.assert_close(terms["codes"], -model.code_critic(z).mean())
    torch.testing.assert_close(terms["distance"], 7 * (batch.x - model.decode(z)).abs().mean())
    with seeded("alpha"):
        terms = player_of(model, "generator").loss(batch)
    with seeded("alpha"):
        rebuilt, sampled = model.both(batch).chunk(2)
    torch.testing.assert_close(terms["adversarial"], -model.critic(rebuilt).mean() - model.critic(sampled).mean())


def test_the_critic_counts_both_kinds_of_fakes_whole() -> None:
    for model in (alpha(), create("vaegan", PLANE, width=8, latent=2)):
        batch = Batch(torch.randn(8, 2))
        with seeded("fakes"):
            terms = player_of(model, "critic").loss(batch)
        with seeded("fakes"):
            x, (rebuilt, sampled) = model.reals(batch), model.fakes(batch).chunk(2)
        expected = softplus(-model.critic(x)).mean()
        expected = expected + softplus(model.critic(rebuilt)).mean() + softplus(model.critic(sampled)).mean()
        torch.testing.assert_close(terms["adversarial"], expected)


def test_codes_of_a_rotated_gaussian_become_standard_normal() -> None:
    """In the mean of three games over their last moments: any one of them goes round its goal."""
    turn = torch.tensor([[1.2, 0.9], [-0.3, 0.4]])
    calm = adam(1e-2, betas=(0.0, 0.99))
    means, covariances, before = [], [], []
    for game in range(3):
        with seeded("codes", game):
            nets = nn.Linear(2, 2), Quadratic(2), nn.Linear(2, 2), Quadratic(2)
            model = AlphaGAN(*nets, latent=2, objective=nonsaturating, penalties={"r1": R1(0.3)}, optimizer=calm)
            model.spec = PLANE
            x = torch.randn(2000, 2) @ turn.T
            with torch.no_grad():
                model.encoder.weight.mul_(0.1)  # codes that are far too small at first
                before.append(model.encode(x).T.cov())
            for rounds in (200, *[20] * 10):
                play(model.players(), model, lambda n: torch.randn(n, 2) @ turn.T, rounds)
                with torch.no_grad():
                    z = model.encode(x)
                if rounds == 20:
                    means.append(z.mean(dim=0))
                    covariances.append(z.T.cov())
            with torch.no_grad():
                assert (model.reconstruct(x) - x).square().mean() < 0.1 * x.var(dim=0).mean()
    assert torch.stack(means).mean(dim=0).abs().max() < 0.25
    assert (torch.stack(covariances).mean(dim=0) - torch.eye(2)).abs().max() < 0.5
    assert (torch.stack(before).mean(dim=0) - torch.eye(2)).abs().max() > 0.9


# -- the likelihood of features --------------------------------------------------------------------------------------


def test_the_divergence_has_its_golden_value() -> None:
    mean, log_variance = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.2, -0.3]])
    ours = divergence(DiagonalNormal(mean, log_variance))
    assert ours.item() == pytest.approx(0.656110, abs=1e-5)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    theirs = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(ours, theirs)


def test_each_player_of_the_vaegan_is_taught_by_its_own_terms() -> None:
    model, batch = create("vaegan", DIGITS, width=8, latent=3), digits()
    assert isinstance(model, VAEGAN)
    critic, encoder = player_of(model, "critic"), player_of(model, "encoder")
    assert not any("reconstruction" in name for name in critic.loss(batch))  # the likelihood never moves the critic
    assert set(encoder.loss(batch)) == {"reconstruction", "divergence"}  # and scores never the encoder
    assert slopes(model, encoder, batch, "divergence")["generator"] == 0
    x, rebuilt = batch.x, model.reconstruct(batch.x)
    expected = 0.5 * (model.critic.features(x) - model.critic.features(rebuilt)).square().sum() / len(x)
    torch.testing.assert_close(model.unlikeness(x, rebuilt), expected)
    assert model.unlikeness(x, x) == 0


def test_gamma_weighs_the_generators_likelihood() -> None:
    batch, parts = digits(), []
    for gamma in (0.0, 1.0, 2.0):
        model = create("vaegan", DIGITS, width=8, latent=3, gamma=gamma)
        with seeded("gamma"):
            parts.append(player_of(model, "generator").loss(batch)["reconstruction"])
    assert parts[0] == 0
    torch.testing.assert_close(parts[2], 2 * parts[1])


# -- means of features -----------------------------------------------------------------------------------------------


def test_equal_means_cost_nothing_though_the_samples_differ() -> None:
    real = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0], [7.0, 5.0]])
    fake = torch.tensor([[2.0, 1.0], [2.0, 1.0], [12.0, 10.0], [0.0, 0.0]])
    group = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert MeanMatching(2, 2)(real, fake, group).item() == pytest.approx(0.0, abs=1e-10)
    assert MeanMatching(2, 2)(real, fake + 1, group).item() == pytest.approx(
        2.0
    )  # two groups, two features, 1 / 2 each
    assert MeanMatching(2, 2)(real, fake.flip(0), group).item() > 1  # each class has its own


def test_a_class_is_moved_by_its_own_mean_alone_and_the_past_counts() -> None:
    matching = MeanMatching(2, 1, horizon=2.0)
    group = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    fake = torch.tensor([[0.0], [5.0]], requires_grad=True)
    loss = matching(torch.tensor([[3.0], [5.0]]), fake, group)
    (slope,) = torch.autograd.grad(loss, fake)
    torch.testing.assert_close(slope, torch.tensor([[-3.0], [0.0]]))
    assert loss.item() == pytest.approx(4.5)
    first = group[:1]  # a batch without the second class: its mean stays
    loss = matching(torch.tensor([[0.0]]), torch.tensor([[0.0]]), first)
    assert loss.item() == pytest.approx(0.5)  # (3 / 3)^2 / 2, the past weighing one half
    matching.eval()
    before = matching.sums.clone()
    matching(torch.ones(2, 1), torch.ones(2, 1), group)
    assert torch.equal(before, matching.sums)


def test_labels_reach_generator_encoder_and_classifier() -> None:
    with pytest.raises(ModelError, match="cvae_gan needs labels"):
        create("cvae_gan", PLANE)
    model, batch = create("cvae_gan", DIGITS, width=8, latent=3), digits()
    z = torch.zeros(3, 3)
    made = model.decode(z, label=torch.arange(3))
    assert (made[0] - made[1]).abs().max() > 1e-4
    assert (model.decode(z, label=torch.tensor([-1, -1, -1])) - model.decode(z)).abs().max() == 0
    assert model.sample(4, seed=0, label="b").shape == (4, 1, 8, 8)
    with torch.no_grad():
        log_shares = model.classify(batch.x)
        likeliest = log_shares.argmax(dim=1)
        torch.testing.assert_close(model.encode(batch.x), model.encode(batch.x, label=likeliest))
        torch.testing.assert_close(model.reconstruct(batch.x), model.reconstruct(batch.x, label=likeliest))
    torch.testing.assert_close(log_shares.exp().sum(dim=1), torch.ones(len(batch)))
    names = {player.name: set(player.loss(batch)) for player in model.players() if player.every == 1}
    assert names["generator"] == {"reconstruction", "mean", "class_means"}  # no score teaches the generator
    assert names["classifier"] == {"cross_entropy"}
    unknown = batch.replace(label=torch.full_like(batch.label, -1))
    assert all(term.isfinite() for player in model.players() for term in player.loss(unknown).values())


# -- introspection ---------------------------------------------------------------------------------------------------


def ian() -> IAN:
    model = create("ian", DIGITS, width=32, latent=3, kl=0.5, pixels=2.0, features=1.0, orthogonal=1e-3)
    assert isinstance(model, IAN)
    return model


def test_each_of_three_answers_is_for_its_kind() -> None:
    model, batch = ian(), digits()
    with seeded("ternary"):
        loss = model.critic_loss(batch)["adversarial"]
    with seeded("ternary"):
        parts = (model.reals(batch), *model.fakes(batch).chunk(2))
    answers = [model.critic(part).log_softmax(dim=1) for part in parts]
    torch.testing.assert_close(loss, -sum(answer[:, kind].mean() for kind, answer in enumerate(answers)))
    assert (REAL, REBUILT, SAMPLED) == (0, 1, 2)
    assert named(torch.tensor([[0.0, 0.0, 0.0]]), REBUILT).item() == pytest.approx(math.log(3))
    score = model.critique(batch.x, batch)
    torch.testing.assert_close(score.sigmoid(), model.critic(batch.x).softmax(dim=1)[:, REAL])


def test_codes_are_read_from_the_critic_which_the_reader_does_not_move() -> None:
    model, batch = ian(), digits()
    seen = torch.cat([layer.flatten(1) for layer in hidden(model.critic, batch.x)], dim=1)
    torch.testing.assert_close(model.encode(batch.x), model.reader(seen)[:, 0])
    torch.testing.assert_close(hidden(model.critic, batch.x)[-1], model.critic.features(batch.x))
    generator = player_of(model, "generator")
    moved = {id(weight) for weight in generator.module.parameters()}
    assert not moved & {id(weight) for weight in model.critic.parameters()}
    assert {id(weight) for weight in model.reader.parameters()} <= moved
    terms = generator.loss(batch)
    assert set(terms) == {"adversarial", "pixels", "features", "divergence", "orthogonal"}
    assert slopes(model, generator, batch, "divergence")["generator"] == 0


def test_orthonormal_weights_cost_nothing_and_others_become_orthonormal() -> None:
    with seeded("orthogonal"):
        layer = nn.Linear(4, 4, bias=False)
        nn.init.orthogonal_(layer.weight)
        penalty = Orthogonal(layer, 1.0)
        nothing = torch.zeros(1)
        assert penalty(layer, nothing, nothing).item() == pytest.approx(0.0, abs=1e-5)
        nn.init.normal_(layer.weight)
        assert penalty(layer, nothing, nothing) > 1
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for step in range(200):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 200)
            optimizer.zero_grad()
            penalty(layer, nothing, nothing).backward()
            optimizer.step()
    assert (layer.weight @ layer.weight.T - torch.eye(4)).abs().max() < 0.02


def test_a_step_against_the_gradient_of_a_code_lowers_the_error_at_a_patch() -> None:
    """What the editor of the paper does with a brush."""
    model = ian()
    z = torch.randn(1, 3, requires_grad=True)

    def error(code: Tensor) -> Tensor:
        return (model.decode(code)[:, :, 2:4, 2:4] - 0.8).square().mean()

    (slope,) = torch.autograd.grad(error(z), z)
    assert error(z - 0.1 * slope) < error(z)


def test_one_filter_acts_at_several_scales() -> None:
    layer = MultiscaleConv(1, 1, (9, 9))
    assert layer.dilations == [1, 2, 4]
    assert MultiscaleConv(1, 1, (2, 7)).dilations == [1]
    with torch.no_grad():
        layer.filter.bias.zero_()
        spot = torch.zeros(1, 1, 9, 9)
        spot[0, 0, 4, 4] = 1.0
        answer = layer(spot)[0, 0]
        W = layer.filter.weight[0, 0]
    for dilation in (1, 2, 4):  # W turned round, as the spot meets it
        assert answer[4 - dilation, 4] == pytest.approx(W[2, 1].item() / 4)
    torch.testing.assert_close(answer[4, 4], (W.mean() + 3 * W[1, 1]) / 4)
    for shape in ((3, 16, 16), (1, 9, 7), (1, 28, 28)):
        assert MultiscaleGenerator(5, shape, 4)(torch.randn(2, 5)).shape == (2, *shape)


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spec",
    [DIGITS, DataSpec("image", (3, 48, 40), levels=256, classes=2), DataSpec("image", (1, 9, 7), levels=2, classes=2)],
    ids=lambda spec: "x".join(map(str, spec.shape)),
)
def test_codes_are_as_long_as_latents_and_pictures_of_any_side_return(name: str, spec: DataSpec) -> None:
    model = create(name, spec, width=8, latent=3)
    assert {"sample", "encode", "decode", "reconstruct"} <= set(model.capabilities)
    x = spec.quantise(torch.rand(4, *spec.shape) * 2 - 1)
    with torch.no_grad():
        assert model.encode(x).shape == (4, 3)
        assert model.reconstruct(x).shape == x.shape
    for stage in model.stages():
        for player in stage.players():
            terms = player.loss(Batch(x, torch.arange(4) % 2))
            assert all(term.isfinite() for term in terms.values())
