"""Adversarial networks that are told something, and their codes: laws, golden numbers, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import (
    Attribute,
    Batch,
    Conditions,
    DataError,
    DataSpec,
    ModelError,
    Noise,
    Unsupported,
    create,
    seeded,
)
from exnihilo.data import load_data
from exnihilo.models.gans.conditions import (
    ConditionalGAN,
    ConditionalGenerator,
    ProjectionCritic,
    Told,
    conditional_critic_for,
    conditional_generator_for,
    laid_over,
    maps_over,
    partly_hidden,
)
from exnihilo.models.gans.information import InfoGAN, category_costs, normal_cost
from exnihilo.models.gans.latents import Codes
from exnihilo.models.gans.networks import leaky
from exnihilo.models.gans.penalties import R1
from exnihilo.models.gans.recipes import calm_adam
from exnihilo.nets.mlp import MLP
from exnihilo.training import Budget, Trainer

CLASSES = DataSpec("vector", (2,), classes=3, class_names=("a", "b", "c"), class_shares=(0.5, 0.25, 0.25))
FACTS = DataSpec("vector", (2,), attributes=(Attribute("old", "yes/no"), Attribute("size", "number")))
VECTOR = DataSpec("vector", (2,), given=DataSpec("vector", (5,)))
OVER = DataSpec("image", (1, 8, 8), levels=17, given=DataSpec("image", (3, 8, 8), levels=256))
BESIDE = DataSpec("image", (1, 9, 7), levels=2, given=DataSpec("image", (1, 12, 12), levels=256))
ALL = DataSpec("image", (3, 16, 16), levels=256, classes=4, class_names=tuple("abcd"), given=DataSpec("vector", (3,)))


def told_of(data: DataSpec, n: int = 6) -> Batch:
    """A batch with everything that the data know."""
    attributes = torch.tensor([[1.0, 0.3]]).expand(n, -1) if data.attributes else None
    given = torch.randn(n, *data.given.shape) if data.given else None
    label = torch.arange(n) % data.classes if data.classes else None
    return Batch(torch.randn(n, *data.shape).tanh(), label=label, attributes=attributes, given=given)


# -- networks that are told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [CLASSES, FACTS, VECTOR, OVER, BESIDE, ALL])
@pytest.mark.parametrize("telling", ["concatenation", "projection"])
def test_both_players_hear_what_is_asked_and_can_do_without(data: DataSpec, telling: str) -> None:
    with seeded("networks"):
        generator = conditional_generator_for(data, 4, 16).eval()
        critic = conditional_critic_for(data, 16, telling)  # type: ignore[arg-type]
        batch, z = told_of(data), torch.randn(6, 4)
        if data.given is not None:
            nn.init.ones_(generator.told.nothing)
    x = generator(z, batch)
    assert x.shape == batch.x.shape
    assert critic(x, batch).shape == (6, 1)
    silent = generator(z, Conditions())
    assert silent.shape == x.shape
    assert not torch.equal(silent, x)
    assert not torch.equal(critic(x, Conditions()), critic(x, batch))
    turned = batch.replace(
        label=None if batch.label is None else batch.label.flip(0),
        attributes=None if batch.attributes is None else 1 - batch.attributes,
        given=None if batch.given is None else -batch.given,  # type: ignore[operator]
    )
    assert not torch.equal(generator(z, turned), x)
    assert not torch.equal(critic(x, turned), critic(x, batch))


def test_what_is_partly_unknown_is_unknown_for_that_example_alone() -> None:
    with seeded("gaps"):
        told = Told(VECTOR, 8)
        nn.init.ones_(told.nothing)
    batch = told_of(VECTOR)
    assert isinstance(batch.given, Tensor)
    gaps = batch.given.clone()
    gaps[2, 1] = math.nan
    vector = told(6, batch.replace(given=gaps))
    assert vector.isfinite().all()
    torch.testing.assert_close(vector[2], told(6, Conditions())[0])
    torch.testing.assert_close(vector[[0, 1, 3, 4, 5]], told(6, batch)[[0, 1, 3, 4, 5]])


def test_a_picture_of_the_same_sides_is_laid_over_the_picture() -> None:
    x, given = torch.randn(2, 1, 8, 8), torch.randn(2, 3, 8, 8)
    assert maps_over(OVER) == 4
    torch.testing.assert_close(laid_over(x, given, 4), torch.cat([x, given, torch.ones(2, 1, 8, 8)], dim=1))
    assert laid_over(x, None, 4)[:, 1:].abs().max() == 0
    assert maps_over(BESIDE) == maps_over(ALL) == 0
    assert laid_over(x, given, 0) is x


def test_the_projection_head_is_bilinear() -> None:
    critic = ProjectionCritic(CLASSES, 8)
    batch = told_of(CLASSES)
    f, e = critic.network(batch.x), critic.told(6, batch)
    expected = f @ critic.psi.weight[0] + critic.psi.bias + (e * f).sum(dim=1)
    torch.testing.assert_close(critic(batch.x, batch)[:, 0], expected)


def test_a_tenth_of_what_is_known_is_hidden() -> None:
    n = 4000
    batch = Batch(
        torch.zeros(n, 1), label=torch.ones(n).long(), attributes=torch.zeros(n, 3), given=torch.zeros(n, 2, 4, 4)
    )
    with seeded("hide"):
        hidden = partly_hidden(batch)
    assert isinstance(hidden.given, Tensor)
    assert (hidden.label == -1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert hidden.attributes.isnan().float().mean(dim=0).tolist() == pytest.approx([0.1] * 3, abs=0.02)  # type: ignore[union-attr]
    rows = hidden.given.isnan().flatten(1)
    assert (rows.all(dim=1) == rows.any(dim=1)).all()
    assert rows.any(dim=1).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert batch.label is not None
    assert (batch.label == 1).all()


# -- conditional games -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_gaussians() -> tuple[ConditionalGAN, Tensor, Tensor]:
    """Class k is N(3k, 0.3^2), on one line; the network is small and trained for some seconds."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 400)
    data = load_data((rng.normal(3.0 * label, 0.3)[:, None].astype(np.float32), label), kind="vector")
    with seeded("line"):
        network = MLP((8 + 16,), (1,), 32, 2, activation=leaky)
        model = ConditionalGAN(
            ConditionalGenerator(network, Told(data.spec, 32)),
            conditional_critic_for(data.spec, 32, "concatenation"),
            latent=8,
            penalties={"r1": R1(1.0, every=4)},
            conditional=True,
            optimizer=calm_adam(3e-3),
        )
    model.spec, model.recipe, model.options = data.spec, "cgan", {}
    Trainer(model, data, Budget(steps=500), seed=0).run()
    batch = data.split("test").first()
    assert batch.label is not None
    return model.eval(), batch.x, batch.label


def test_each_class_is_drawn_where_it_is(three_gaussians: tuple[ConditionalGAN, Tensor, Tensor]) -> None:
    model, _, _ = three_gaussians
    for number in range(3):
        drawn = torch.as_tensor(model.spec.decode(model.sample(500, seed=0, label=number)))
        assert drawn.mean().item() == pytest.approx(3.0 * number, abs=0.25)
        assert 0.1 < drawn.std().item() < 0.6


def test_the_critic_prefers_the_right_class(three_gaussians: tuple[ConditionalGAN, Tensor, Tensor]) -> None:
    model, x, label = three_gaussians
    with torch.no_grad():
        right = model.critique(x, Batch(x, label=label))
        wrong = model.critique(x, Batch(x, label=(label + 1) % 3))
    assert (right > wrong).float().mean() >= 0.9


def test_unasked_it_draws_classes_by_their_shares(three_gaussians: tuple[ConditionalGAN, Tensor, Tensor]) -> None:
    model, _, _ = three_gaussians
    for x in (model.sample(900, seed=0), model.decode(Noise(0, 900).normal(8)).detach()):
        near = (torch.as_tensor(model.spec.decode(x)) / 3).round().flatten().clamp(0, 2).long()
        assert torch.bincount(near, minlength=3).min() > 150


def test_a_vector_given_says_where_to_draw() -> None:
    """x | g ~ N(g, 0.2^2) with g uniform: samples follow what is given, in its own units."""
    rng = np.random.default_rng(0)
    given = rng.uniform(10, 20, size=600).astype(np.float32)
    noise = rng.normal(0, 0.2, size=(600, 2)).astype(np.float32)
    data = load_data(np.stack([given, -given], axis=1) + noise, given=given)
    model = create("cgan", data, seed=0, width=32, latent=4, rate=3e-3)
    Trainer(model, data, Budget(steps=400), seed=0).run()
    for value in (12.0, 18.0):
        drawn = model.spec.decode(model.sample(200, seed=0, given=np.array([[value]])))
        assert drawn.mean(axis=0) == pytest.approx([value, -value], abs=1.0)
    with pytest.raises(DataError, match=r"given is \(2, 3\)"):
        model.sample(2, given=torch.zeros(2, 3))
    with pytest.raises(DataError, match="3 samples need 3 rows of given; 2"):
        model.sample(3, given=torch.zeros(2, 1))


def test_what_a_model_is_not_told_is_refused_and_who_would_be_is_named() -> None:
    data = load_data("ring8", n=200)
    rows = torch.zeros(2, 1)
    with pytest.raises(Unsupported, match=r"gan take no `given`.* Models that do: .*cgan.*lapgan"):
        create("gan", data, width=8).sample(2, given=rows)
    with pytest.raises(DataError, match="had nothing given beside them"):
        create("cgan", data, width=8).sample(2, given=rows)
    with pytest.raises(Unsupported, match=r"cgan take no `mask`.* It takes attributes, given\. No model does"):
        create("cgan", data, width=8).sample(2, mask=rows)


@pytest.mark.parametrize("name", ["cgan", "acgan", "cogan", "infogan", "wgan_gp"])
def test_games_are_played_on_labelled_series(name: str) -> None:
    spec = DataSpec("series", (2, 12), classes=2, class_names=("a", "b"), class_shares=(0.5, 0.5), examples=9)
    model = create(name, spec, width=8)
    batch = Batch(torch.randn(6, 2, 12), label=torch.tensor([0, 1] * 3))
    for player in model.players():
        for term in player.loss(batch).values():
            assert term.isfinite()
    assert model.sample(3, seed=0, **({"label": "b"} if model.labelled else {})).shape == (3, 2, 12)


def test_where_classes_overlap_acgan_pushes_them_apart_and_cgan_does_not() -> None:
    """x | k ~ N(k, 1): naming classes rewards what is easily named (measured: sd 0.04 to 0.12, means 3 apart)."""
    rng, label = np.random.default_rng(0), np.repeat(np.arange(2), 1500)
    data = load_data((rng.normal(label, 1.0)[:, None], label), kind="vector")
    gap, spread = {}, {}
    for name in ("cgan", "acgan"):
        model = create(name, data, seed=0, width=32, latent=4, penalty=1.0)
        Trainer(model, data, Budget(steps=300), seed=0).run()
        low, high = (np.asarray(model.spec.decode(model.sample(1000, seed=0, label=k))) for k in (0, 1))
        gap[name], spread[name] = high.mean() - low.mean(), (low.std() + high.std()) / 2
    assert abs(gap["cgan"] - 1) < 0.8 < 2 < gap["acgan"]
    assert spread["acgan"] < 0.5 < 0.75 < spread["cgan"]


# -- codes -----------------------------------------------------------------------------------------------------------


def test_codes_are_made_of_normal_numbers_and_know_their_parts() -> None:
    codes = Codes((3, 4), 2, 5)
    assert (codes.size, codes.width) == (2 + 2 + 5, 3 + 4 + 2 + 5)
    e = Noise(0, 4000).normal(codes.size)
    z = codes(e)
    first, second, numbers, noise = (z[:, place] for place in codes.parts.values())
    assert list(codes.parts) == ["category 0", "category 1", "continuous", "noise"]
    for part, values in ((first, 3), (second, 4)):
        assert (part.sum(dim=1) == 1).all()
        assert part.mean(dim=0).tolist() == pytest.approx([1 / values] * values, abs=0.03)
    assert numbers.abs().max() < 1
    assert numbers.std().item() == pytest.approx(1 / math.sqrt(3), abs=0.02)
    torch.testing.assert_close(noise, e[:, 4:])
    assert len(codes.names) == codes.width
    assert (codes.names[1], codes.names[3], codes.names[7], codes.names[-1]) == (
        "category 0 = 1", "category 1 = 0", "continuous 0", "noise 4",
    )  # fmt: skip
    extreme = codes(torch.full((1, codes.size), 9.0))
    assert extreme.isfinite().all()
    assert extreme[0, :7].tolist() == [0, 0, 1, 0, 0, 0, 1]


def test_the_cost_of_continuous_codes_is_a_normal_likelihood() -> None:
    answers, values = torch.randn(6, 4), torch.rand(6, 2)
    expected = -torch.distributions.Normal(answers[:, :2], (answers[:, 2:] / 2).exp()).log_prob(values).sum(dim=1)
    torch.testing.assert_close(normal_cost(answers, values), expected)
    assert normal_cost(torch.tensor([[0.0, -1e9]]), torch.zeros(1, 1)).isfinite().all()


def test_the_bound_on_information_reaches_the_entropy_and_nothing() -> None:
    codes = Codes((10,), 0, 3)
    z = codes(Noise(0, 500).normal(codes.size))
    read = 50.0 * z[:, :10]  # the generator shows its code
    entropy = math.log(10)
    assert entropy - category_costs(codes, read, z).mean().item() == pytest.approx(math.log(10), abs=1e-4)
    unread = torch.zeros(500, 10)  # it does not
    assert entropy - category_costs(codes, unread, z).mean().item() == pytest.approx(0.0, abs=1e-5)
    assert entropy - category_costs(codes, torch.randn(500, 10), z).mean().item() < 0


def test_infogan_reads_its_codes_and_moves_each_player_for_them() -> None:
    data = DataSpec("vector", (2,))
    model = create("infogan", data, width=16, categories=4, continuous=1, latent=3)
    assert isinstance(model, InfoGAN)
    assert "reconstruct" not in model.capabilities
    critic, _, generator = model.players()
    with seeded("turns"):
        terms = [player.loss(Batch(torch.randn(32, 2))) for player in (critic, generator)]
    for term in terms:
        assert {"adversarial", "categories", "continuous", "information"} <= set(term)
        assert term["categories"].item() == pytest.approx(math.log(4) - term["information"].item(), abs=1e-5)
    assert terms[1]["categories"].requires_grad
    assert not terms[0]["information"].requires_grad
    z = model.encode(torch.randn(7, 2))
    assert z.shape == (7, 4 + 1 + 3)
    torch.testing.assert_close(z[:, :4].sum(dim=1), torch.ones(7))
    torch.testing.assert_close(model.clusters(torch.zeros(2, 2)).exp().sum(dim=1), torch.ones(2))
    assert z[:, 5:].abs().max() == 0
    assert model.decode(z).shape == (7, 2)
    assert create("infogan", data, width=16, continuous=0).sample(2, seed=0).shape == (2, 2)


def test_four_heaps_become_four_categories() -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 200)
    centres = np.array([[4.0, 4.0], [4.0, -4.0], [-4.0, 4.0], [-4.0, -4.0]])
    data = load_data(centres[label] + rng.normal(0, 0.5, size=(800, 2)))
    model = create("infogan", data, seed=0, width=64, categories=4, continuous=0, latent=4, penalty=1.0)
    Trainer(model, data, Budget(steps=600), seed=0).run()
    whole = data.first()
    assert isinstance(model, InfoGAN)
    found = model.clusters(whole.x).argmax(dim=1).numpy()
    table = np.zeros((4, 4))
    np.add.at(table, (found, label), 1)
    rows, columns = linear_sum_assignment(-table)
    assert table[rows, columns].sum() / len(label) >= 0.95


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cgan", "acgan", "amgan"])
def test_conditional_recipes_need_something_to_be_told(name: str) -> None:
    with pytest.raises(ModelError, match=rf"{name} needs .*none.*-d label="):
        create(name, DataSpec("vector", (2,)))
    with pytest.raises(ModelError, match="one class only"):
        create(name, DataSpec("vector", (2,), classes=1, class_names=("a",)))


def test_attributes_or_something_given_are_enough_for_cgan_alone() -> None:
    for data in (FACTS, VECTOR, OVER):
        model = create("cgan", data, width=16)
        assert model.sample(2, seed=0).shape == (2, *data.shape)
        with pytest.raises(ModelError, match="needs labels"):
            create("acgan", data)
    old = create("cgan", FACTS, width=16)
    young = old.sample(3, seed=0, attributes={"old": "no"})
    assert not torch.equal(young, old.sample(3, seed=0, attributes={"old": "yes"}))
