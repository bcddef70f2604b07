"""Adversarial networks whose critic names classes, and the tricks: golden numbers, identities, what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from exnihilo.core import Batch, DataSpec, Unsupported, create, seeded
from exnihilo.data import load_data
from exnihilo.models.gans.classes import (
    CatGAN,
    ClassGAN,
    asked_class,
    categorical,
    class_cost,
    entropies,
    likeliest_class,
    one_more,
    separate,
)
from exnihilo.models.gans.objectives import nonsaturating
from exnihilo.models.gans.penalties import HistoricalAverage
from exnihilo.models.gans.tricks import (
    FeatureMatching,
    HeadedCritic,
    InstanceNoise,
    MinibatchDiscrimination,
    Referenced,
    VirtualBatchNorm,
    flipped,
    led_by_contents,
)
from exnihilo.nets.dcgan import StridedCritic, StridedGenerator
from exnihilo.nets.layers import BatchNorm
from exnihilo.nets.mlp import MLP
from exnihilo.training import Budget, Trainer

POINTS = DataSpec("vector", (2,), classes=3, class_names=("a", "b", "c"), class_shares=(0.5, 0.25, 0.25))
DIGITS = DataSpec("image", (1, 8, 8), levels=17, classes=3, class_names=tuple("abc"), class_shares=(0.4, 0.3, 0.3))
P_REAL = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], dtype=torch.float64)
P_FAKE = torch.tensor([[0.4, 0.3, 0.3], [0.2, 0.5, 0.3]], dtype=torch.float64)


# -- K + 1 classes ---------------------------------------------------------------------------------------------------


def test_the_score_of_k_classes_is_the_logit_of_being_one_of_them() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    score = one_more.score(logits)
    assert score.item() == pytest.approx(1.504597, abs=1e-5)
    assert score.sigmoid().item() == pytest.approx(0.818259, abs=1e-5)
    whole = torch.cat([logits, torch.zeros(1, 1, dtype=torch.float64)], dim=1).softmax(dim=1)
    assert whole[0, 3].item() == pytest.approx(1 - score.sigmoid().item())
    assert one_more.score(torch.tensor([[1e4, 9e3]])).isfinite().all()


def test_the_critics_terms_are_one_cross_entropy_of_k_plus_one_classes() -> None:
    """Labelled reals cost -log p(y), fakes -log p(K + 1), as one softmax over all."""
    model = create("amgan", POINTS, width=16, penalty=0.0)
    assert isinstance(model, ClassGAN)
    batch = Batch(torch.randn(16, 2), label=torch.arange(16) % 3)
    with seeded("turn"):
        terms = model.critic_loss(batch)
    found: list[Tensor] = []
    model.critic.register_forward_hook(lambda module, inputs, answer: found.append(answer))
    with seeded("turn"):
        model.critic_loss(batch)
    real, fake = (torch.cat([logits, torch.zeros(16, 1)], dim=1) for logits in found)
    expected = cross_entropy(real, batch.label) + cross_entropy(fake, torch.full((16,), 3))  # type: ignore[arg-type]
    torch.testing.assert_close(terms["adversarial"] + terms["classes"], expected)


def test_activation_maximisation_pulls_one_class_and_pushes_the_others() -> None:
    """-log D_y has slope -(1 - D_y) in logit y and D_k in the others; -log sum_k D_k has -(D_k / D_r)(1 - D_r)."""
    logits = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    whole = torch.cat([logits, torch.zeros(1, 1, dtype=torch.float64)], dim=1).softmax(dim=1).detach()[0, :4]
    plain = nonsaturating.generator(one_more.score(logits), None)
    (slope,) = torch.autograd.grad(plain, logits)
    torch.testing.assert_close(slope[0], -(whole / whole.sum()) * (1 - whole.sum()))
    target = torch.tensor([2])
    aimed = nonsaturating.generator(one_more.score(logits), None) + class_cost(logits, target)
    (slope,) = torch.autograd.grad(aimed, logits)
    torch.testing.assert_close(slope[0], whole - torch.eye(4, dtype=torch.float64)[2])


def test_targets_are_what_was_asked_or_what_it_looks_like() -> None:
    logits, label = torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([0, 0])
    assert asked_class(label, logits).tolist() == [0, 0]
    assert likeliest_class(None, logits).tolist() == [1, 0]


def test_examples_of_unknown_class_cost_nothing_by_class() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    label = torch.tensor([-1, 2, -1, 0])
    torch.testing.assert_close(class_cost(logits, label), cross_entropy(logits[[1, 3]], label[[1, 3]]))
    (slope,) = torch.autograd.grad(class_cost(logits, label), logits)
    assert slope[[0, 2]].abs().max() == 0
    assert class_cost(logits, torch.full((4,), -1)).item() == 0
    assert class_cost(logits, None).item() == 0


def test_a_separate_head_scores_by_its_first_output() -> None:
    h = torch.randn(5, 4)
    assert separate.classes is not None
    torch.testing.assert_close(separate.score(h), h[:, 0])
    torch.testing.assert_close(separate.classes(h), h[:, 1:])


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("acgan", {}, {"classes", "classes_of_fakes"}),
        ("amgan", {}, {"classes"}),
        ("amgan", {"labels": "dynamic"}, {"classes"}),
        ("improved_gan", {}, {"classes"}),
    ],
)
def test_who_learns_classes_of_what(name: str, options: dict[str, str], told: set[str]) -> None:
    model = create(name, POINTS, width=8, latent=3, **options)
    assert isinstance(model, ClassGAN)
    assert model.labelled == (name == "acgan" or (name == "amgan" and not options))
    critic, _, generator = model.players()
    assert critic.coupled
    batch = Batch(torch.randn(12, 2), label=torch.arange(12) % 3)
    with seeded("turns"):
        ours, theirs = critic.loss(batch), generator.loss(batch)
    assert told == {term for term in ours if "classes" in term}
    assert ("classes" in theirs) == (name != "improved_gan")
    assert "classify" in model.capabilities
    torch.testing.assert_close(model.classify(batch.x).exp().sum(dim=1), torch.ones(12))


def test_without_classes_the_improved_gan_only_scores() -> None:
    model = create("improved_gan", DataSpec("vector", (2,)), width=8, latent=3)
    assert model.capabilities == ("sample", "decode")
    with pytest.raises(Unsupported, match="improved_gan cannot classify"):
        model.classify(torch.zeros(1, 2))


# -- entropies -------------------------------------------------------------------------------------------------------


def test_categorical_objectives_have_their_golden_values() -> None:
    real, fake = P_REAL.log() + 3.0, P_FAKE.log() - 1.0
    assert -categorical.critic(real, fake).item() == pytest.approx(1.282200, abs=1e-5)
    assert categorical.generator(fake, None).item() == pytest.approx(-0.029623, abs=1e-5)
    shares, each = entropies(real)
    assert (shares - each).exp().item() == pytest.approx(1.249725, abs=1e-5)  # exp of the mean KL to the marginal


def test_a_perfect_categorical_critic_reaches_two_log_k() -> None:
    real, fake = 1e3 * torch.eye(5).repeat(4, 1), torch.zeros(20, 5)
    assert -categorical.critic(real, fake).item() == pytest.approx(2 * math.log(5), abs=1e-4)
    constant = torch.tensor([[1e3, 0.0]]).expand(8, -1)
    assert categorical.critic(constant, constant).item() == pytest.approx(0.0, abs=1e-5)


def test_catgan_looks_at_labels_only_where_its_classes_are_theirs() -> None:
    told, free = create("catgan", POINTS, width=8), create("catgan", POINTS, width=8, categories=6)
    plain = create("catgan", DataSpec("vector", (2,)), width=8)
    x = torch.randn(9, 2)
    for model, count in ((told, 3), (free, 6), (plain, 10)):
        assert isinstance(model, CatGAN)
        assert model.clusters(x).shape == (9, count)
        assert ("classify" in model.capabilities) == (model is told)
        with seeded("turn"):
            terms = model.critic_loss(Batch(x, label=torch.arange(9) % 3))
        assert ("classes" in terms) == (model is told)
        assert 1 <= terms["classes_in_use"].item() <= count + 1e-4


def test_three_heaps_are_three_categories() -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 200)
    centres = np.array([[4.0, 0.0], [-4.0, 4.0], [-4.0, -4.0]])
    data = load_data(centres[label] + rng.normal(0, 0.5, size=(600, 2)))
    model = create("catgan", data, seed=0, width=32, latent=4, categories=3)
    Trainer(model, data, Budget(steps=300), seed=0).run()
    assert isinstance(model, CatGAN)
    found = model.clusters(data.first().x).argmax(dim=1).numpy()
    table = np.zeros((3, 3))
    np.add.at(table, (found, label), 1)
    rows, columns = linear_sum_assignment(-table)
    assert table[rows, columns].sum() / len(label) >= 0.95


# -- tricks ----------------------------------------------------------------------------------------------------------


def test_minibatch_discrimination_has_its_golden_values_and_equals_three_loops() -> None:
    rows = torch.tensor([[[0.0, 1], [1, 1]], [[0.5, 1], [1, 0]], [[2, 2], [0, 0]]])
    layer = MinibatchDiscrimination(4, 2, 2)
    with torch.no_grad():
        layer.project.weight.copy_(torch.eye(4))
    found = layer.closeness(rows.flatten(1))
    expected = torch.tensor([[0.656318, 0.503215], [0.688616, 0.735759], [0.131872, 0.503215]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    layer = MinibatchDiscrimination(5, 3, 4)
    f = torch.randn(6, 5)
    m = layer.project(f).view(6, 3, 4)
    slow = torch.zeros(6, 3)
    m = m.detach()
    for i in range(6):
        for j in range(6):
            for b in range(3):
                slow[i, b] += 0.0 if i == j else math.exp(-float((m[i, b] - m[j, b]).abs().sum()))
    torch.testing.assert_close(layer.closeness(f), slow, atol=1e-5, rtol=1e-4)
    order = torch.randperm(6)
    torch.testing.assert_close(layer.closeness(f[order]), layer.closeness(f)[order])


def test_equal_examples_are_close_and_far_ones_are_not() -> None:
    layer = MinibatchDiscrimination(3, 2)
    torch.testing.assert_close(layer.closeness(torch.ones(7, 3)), torch.full((7, 2), 6.0))
    far = 1e4 * torch.arange(7.0)[:, None] * torch.ones(7, 3)
    assert layer.closeness(far).max() < 1e-3


def test_answers_in_eval_mode_do_not_depend_on_who_else_is_asked() -> None:
    critic = HeadedCritic(MLP((2,), (6,), 8, 1), 6, 4, 3)
    x = torch.randn(10, 2)
    critic(x)
    critic.eval()
    torch.testing.assert_close(critic(x)[:3], critic(x[:3]))
    assert critic.head[0].usual.min() > 0
    assert critic.features(x).shape == (10, critic.feature_size)


def test_virtual_batch_norm_of_its_reference_is_batch_norm() -> None:
    plain = BatchNorm(3)
    nn.init.uniform_(plain.weight)
    nn.init.uniform_(plain.bias)
    layer = VirtualBatchNorm(plain, 40)
    for shape in ((40, 3), (40, 3, 5, 5)):
        x = 2 + 3 * torch.randn(shape)
        torch.testing.assert_close(layer(x), plain.train()(x), atol=1e-4, rtol=1e-4)
    others = torch.randn(4, 3, 5, 5)
    mixed = (others[0].mean(dim=(1, 2)) + 40 * x.mean(dim=(0, 2, 3))) / 41
    square = (others[0].square().mean(dim=(1, 2)) + 40 * x.square().mean(dim=(0, 2, 3))) / 41
    scale = plain.weight / (square - mixed.square() + 1e-5).sqrt()
    expected = (others[0] - mixed[:, None, None]) * scale[:, None, None] + plain.bias[:, None, None]
    torch.testing.assert_close(layer(torch.cat([x, others]))[40], expected, atol=1e-4, rtol=1e-4)


def test_a_referenced_generator_treats_each_latent_by_itself_also_in_training() -> None:
    generator = Referenced(StridedGenerator(5, (1, 8, 8), 4), 5, count=16).train()
    assert not any(isinstance(layer, BatchNorm) for layer in generator.modules())
    z = torch.randn(6, 5)
    torch.testing.assert_close(generator(z)[2:4], generator(z[2:4]), atol=1e-5, rtol=1e-4)
    assert "reference" in generator.state_dict()
    assert {name for name, _ in generator.named_parameters()} == {
        f"network.layers.{place}" for place in ("1.weight", "1.bias", "2.weight", "2.bias", "4.weight", "4.bias",
                                                "5.weight", "5.bias", "7.weight", "7.bias")
    }  # fmt: skip


def test_feature_matching_compares_means_and_leaves_scores_out() -> None:
    critic = MLP((2,), (1,), 8, 1)
    real, fake = torch.randn(30, 2), torch.randn(20, 2, requires_grad=True)
    gap = critic.features(real).mean(dim=0) - critic.features(fake).mean(dim=0)
    torch.testing.assert_close(FeatureMatching(3.0)(critic, real, fake), 3 * gap.square().sum())
    assert FeatureMatching()(critic, real, real).item() == pytest.approx(0.0)
    led = led_by_contents(nonsaturating)
    assert not led.generator(critic(fake), None).requires_grad
    torch.testing.assert_close(led.critic(critic(real), critic(fake)), nonsaturating.critic(critic(real), critic(fake)))


def test_instance_noise_fades_away() -> None:
    x, sight = torch.zeros(10_000), InstanceNoise(0.5)
    with seeded("noise"):
        assert sight(x, 0.0).std().item() == pytest.approx(0.5, rel=0.05)
        assert sight(x, 0.8).std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(sight(x, 1.0), x)


def test_flips_exchange_a_share_of_real_and_fake() -> None:
    real, fake = torch.full((20_000,), 2.0), torch.full((20_000,), -1.0)
    straight, crossed = nonsaturating.critic(real, fake), nonsaturating.critic(fake, real)
    with seeded("flips"):
        found = flipped(nonsaturating, 0.1).critic(real, fake)
    assert found.item() == pytest.approx((0.9 * straight + 0.1 * crossed).item(), rel=0.05)
    assert flipped(nonsaturating, 0.0).critic(real, fake).item() == pytest.approx(straight.item())
    assert flipped(nonsaturating, 0.1).generator is nonsaturating.generator


def test_the_improved_gan_takes_each_technique() -> None:
    plain = create("improved_gan", DIGITS, width=16, latent=3, smoothing=0.0, generator="features")
    assert isinstance(plain, ClassGAN)
    assert set(plain.contents) == {"features"}
    model = create(
        "improved_gan", DIGITS, width=16, latent=3, kernels=4, history=0.1, norm="virtual", generator="scores"
    )
    assert isinstance(model, ClassGAN)
    assert set(model.contents) == {"history"}
    assert isinstance(model.generator, Referenced)
    assert isinstance(model.critic, HeadedCritic)
    remembered = [part for part in model.modules() if isinstance(part, HistoricalAverage)]
    assert len(remembered) == 2
    batch = Batch(torch.rand(8, 1, 8, 8), label=torch.tensor([0, -1, 1, 2, -1, -1, -1, 0]))
    data = load_data((np.random.default_rng(0).integers(0, 17, size=(40, 8, 8)), np.arange(40) % 3), levels=17)
    Trainer(model, data, Budget(steps=4), seed=0).run()
    assert [part.rounds.item() for part in remembered] == [4, 4]
    assert all(term.isfinite() for term in model.critic_loss(batch).values())
    half = create("improved_gan", DIGITS, width=16, latent=3, smoothing=0.1)
    score = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(half.objective.critic(score, score.detach()), score)  # type: ignore[attr-defined]
    torch.testing.assert_close(slope, torch.full((3,), (0.5 - 0.9) / 3))  # reals are pushed to D = 0.9 only


# -- the guidelines of dcgan, one by one -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 9), (1, 28, 28)])
@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({"pool": "pooling"}, "MaxPool2d"),
        ({"pool": "pooling"}, "Upsample"),
        ({"head": "dense"}, "Linear"),
        ({"activation": "tanh"}, "Tanh"),
        ({"dropout": 0.5}, "Dropout2d"),
    ],
)
def test_each_guideline_can_be_left(shape: tuple[int, ...], options: dict[str, str], layer: str) -> None:
    data = DataSpec("image", shape, levels=256)
    whole, left = create("dcgan", data, width=8), create("dcgan", data, width=8, **options)

    def kinds(model: nn.Module) -> list[str]:
        return [type(part).__name__ for part in model.modules()]

    assert kinds(left).count(layer) > kinds(whole).count(layer)
    assert left.sample(2, seed=0).shape == (2, *shape)
    critic: StridedCritic = left.critic  # type: ignore[assignment]
    x = torch.rand(3, *shape)
    assert critic(x).shape == (3, 1)
    assert critic.features(x).shape == (3, critic.feature_size)
    if "pool" in options:
        strides = [part.stride for part in left.modules() if isinstance(part, nn.Conv2d)]
        assert set(strides) == {(1, 1)}
    if "activation" in options:
        assert not {"ReLU", "LeakyReLU"} & set(kinds(left))


def test_the_tricks_of_dcgan_are_options() -> None:
    model = create("dcgan", DIGITS, width=8, instance_noise=0.2, flips=0.05)
    assert model.sight == InstanceNoise(0.2)
    assert model.objective.generator is nonsaturating.generator  # type: ignore[attr-defined]
    model.progress = 0.0
    with seeded("see"):
        assert model.reals(Batch(torch.zeros(500, 1, 8, 8))).std().item() == pytest.approx(0.2, rel=0.1)  # type: ignore[operator]
    assert create("dcgan", DIGITS, width=8).sight is None
