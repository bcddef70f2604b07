"""Games that share layers, levels or a critic: CoGAN, LAPGAN, GoGAN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import (
    NOTHING,
    Batch,
    Conditions,
    DataError,
    DataSpec,
    ModelError,
    Noise,
    TrainingError,
    create,
    seeded,
)
from exnihilo.data import load_data
from exnihilo.models.gans import GAN
from exnihilo.models.gans.coupled import CoGAN, CoupledCritic, CoupledGenerator, balanced, pick
from exnihilo.models.gans.objectives import margin
from exnihilo.models.gans.pyramid import LAPGAN, bands, collapse, double, halve, sides, smooth
from exnihilo.models.gans.ranked import GoGAN, Ranking
from exnihilo.nets.mlp import MLP
from exnihilo.training import Budget, Trainer
from exnihilo.training.state import shared_tensors

DIGITS = DataSpec("image", (1, 8, 8), levels=17)
LINE = DataSpec("vector", (1,))


def two_domains(n: int = 2000):
    """Two independent numbers of two modes each; in the second domain twice as large plus three. No pairs."""
    rng = np.random.default_rng(0)
    mode = rng.random((n, 2)) < (0.7, 0.4)
    x = np.where(mode, -1.0, 1.0) + 0.1 * rng.standard_normal((n, 2))
    label = rng.integers(0, 2, n)
    return load_data((np.where(label[:, None], 2 * x + 3, x).astype(np.float32), label))


# -- CoGAN -----------------------------------------------------------------------------------------------------------


def test_pick_takes_each_rows_own_option() -> None:
    options = [torch.full((3, 2), float(k)) for k in range(4)]
    assert pick(options, torch.tensor([2, 0, 3]))[:, 1].tolist() == [2.0, 0.0, 3.0]


@pytest.mark.parametrize(
    "spec", [DataSpec("image", (1, 8, 8), levels=17, classes=2), DataSpec("vector", (3,), classes=2)]
)
def test_domains_share_first_layers_of_generators_and_last_of_critics(spec: DataSpec) -> None:
    model = create("cogan", spec, width=16, latent=4)
    generator, critic = model.generator, model.critic
    names = [name for name in shared_tensors(model) if name in dict(model.named_parameters())]
    assert len(names) == sum(
        len(list(part.parameters())) for part in (generator.trunk, *generator.heads, *critic.entries, critic.trunk)
    )
    z, x = torch.randn(6, 4), torch.randn(6, *spec.shape)
    model.eval()
    for network, first, shared in ((generator, z, generator.trunk), (critic, x, critic.trunk)):
        own = generator.heads if network is generator else critic.entries

        def slopes(label: Tensor, network: nn.Module = network, first: Tensor = first) -> dict[str, Tensor]:
            model.zero_grad()
            network(first, Conditions(label=label)).square().sum().backward()
            return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}

        both, ones = torch.tensor([0, 0, 0, 1, 1, 1]), torch.ones(6, dtype=torch.long)
        whole = slopes(both)
        parts = [slopes(torch.full((3,), k), first=first[3 * k : 3 * k + 3]) for k in range(2)]
        mine = {id(weight) for weight in shared.parameters()}
        for name, weight in network.named_parameters():
            if id(weight) in mine:
                torch.testing.assert_close(whole[name], parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-5)
        untouched = slopes(ones)
        prefix = "heads.0" if network is generator else "entries.0"
        assert all(not slope.any() for name, slope in untouched.items() if name.startswith(prefix))
        assert len(own) == 2


def test_the_same_seed_with_another_label_is_the_counterpart() -> None:
    model = create("cogan", DataSpec("vector", (3,), classes=3, class_names=("a", "b", "c")), width=16, start="apart")
    z = model.draw_code(Noise(4, 5))
    for name, number in (("a", 0), ("c", 2)):
        expected = model.decode(z, label=torch.full((5,), number))
        torch.testing.assert_close(model.sample(5, seed=4, label=name), expected)
    assert not torch.equal(model.sample(5, seed=4, label="a"), model.sample(5, seed=4, label="c"))


def test_domains_begin_alike_or_apart() -> None:
    for kind in (DataSpec("vector", (3,), classes=3), replace(DIGITS, classes=3)):
        z = torch.randn(4, 32)
        for start, equal in (("alike", True), ("apart", False), (None, kind.kind == "vector")):
            model = create("cogan", kind, width=32, start=start).eval()
            first, *others = [model.decode(z, label=torch.full((4,), k)) for k in range(3)]
            assert [torch.equal(first, other) for other in others] == [equal, equal]
            assert len({id(weight) for weight in model.generator.heads.parameters()}) == 6


def test_cogan_refuses_data_without_domains() -> None:
    with pytest.raises(ModelError, match=r"have no classes.*as label"):
        create("cogan", DIGITS)
    with pytest.raises(ModelError, match=r"have 1 class[.]"):
        create("cogan", replace(DIGITS, classes=1))
    with pytest.raises(TrainingError, match="No training example has a label"):
        balanced(load_data(np.zeros((20, 2), dtype=np.float32) + np.arange(20)[:, None]))


def test_domains_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    data = load_data((rng.normal(size=(300, 2)), (rng.random(300) < 0.1).astype(int)))
    label = balanced(data.split("train")).batch(0, 4000, 0).label
    assert abs(label.float().mean().item() - 0.5) < 0.05


def correlation(model: CoGAN) -> float:
    """Of counterparts, the mean over both numbers."""
    z = model.draw_code(Noise(0, 1000))
    with torch.no_grad():
        pair = [model.decode(z, label=torch.full((1000,), k)) for k in range(2)]
    return sum(torch.corrcoef(torch.stack([part[:, d] for part in pair]))[0, 1].item() / 2 for d in range(2))


def test_samples_of_two_domains_correspond_because_layers_are_shared() -> None:
    data = two_domains()
    tied = create("cogan", data, seed=0, width=64, latent=8)
    Trainer(tied, data, Budget(steps=400), seed=0).run()
    with seeded("untied"):
        first, second, one, other = (MLP((a,), (b,), 64, 3) for a, b in ((8, 2), (8, 2), (2, 1), (2, 1)))
    untied = CoGAN(
        CoupledGenerator(nn.Identity(), [first, second]), CoupledCritic([one, other], nn.Identity()),
        latent=8, conditional=True, penalties=tied.penalties, optimizer=tied.optimizer,
    )  # fmt: skip
    untied.spec = data.spec
    Trainer(untied, data, Budget(steps=400), seed=0).run()
    assert correlation(tied) > 0.8
    assert abs(correlation(untied)) < 0.5


# -- LAPGAN ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "levels"), [((8, 8), 1), ((28, 28), 2), ((9, 7), 2), ((5, 11), 1), ((64, 33), 4)])
def test_a_pyramid_is_undone_exactly(side: tuple[int, int], levels: int) -> None:
    x = torch.rand(3, 2, *side) * 2 - 1
    parts = bands(x, levels)
    assert [tuple(part.shape[2:]) for part in parts] == sides(side, levels)
    assert (collapse(parts) - x).abs().max() < 1e-6


def test_the_kernel_is_binomial_and_keeps_constants() -> None:
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 1
    row = torch.tensor([0.0, 1, 4, 6, 4, 1, 0]) / 16
    torch.testing.assert_close(smooth(point)[0, 0], row[:, None] * row)
    for side in ((8, 8), (9, 7), (3, 4)):
        flat = torch.full((1, 1, *side), 0.7)
        torch.testing.assert_close(double(halve(flat), side), flat)


def test_sides_are_halved_to_eight_or_as_asked_and_refused_where_there_is_no_half() -> None:
    assert sides((28, 28)) == [(28, 28), (14, 14), (7, 7)]
    assert sides((8, 8)) == [(8, 8), (4, 4)]
    assert sides((9, 7), 2) == [(9, 7), (5, 4), (3, 2)]
    with pytest.raises(ModelError, match=r"2 x 9 cannot be halved 1 times.*Sides of 3 or more can[.]"):
        sides((2, 9))
    with pytest.raises(ModelError, match=r"8 x 8 cannot.*Sides of 17 or more can, and this one 2 times: levels=2"):
        sides((8, 8), 4)
    assert len(sides((17, 17), 4)) == 5
    with pytest.raises(ModelError):
        sides((16, 16), 4)


def lapgan(side: tuple[int, int] = (9, 7), levels: int = 2) -> LAPGAN:
    return create("lapgan", replace(DIGITS, shape=(1, *side)), levels=levels, width=32, latent=4)  # type: ignore[return-value]


def test_a_level_is_played_on_the_true_band_over_the_true_low_pass() -> None:
    model, x = lapgan(), torch.rand(3, 1, 9, 7)
    expected = bands(x, 2)
    for level, part in enumerate(expected):
        seen = model.band(level, Batch(x))
        torch.testing.assert_close(seen.x, part)
        if level < 2:
            torch.testing.assert_close(seen.given, double(collapse(expected[level + 1 :]), part.shape[2:]))
    assert seen.given is None
    assert [stage.name for stage in model.stages()] == ["3 x 2", "5 x 4", "9 x 7"]


def test_without_bands_it_only_enlarges_the_coarse_picture() -> None:
    model = lapgan()
    for game in model.games[:-1]:
        for weight in list(game.generator.parameters())[-2:]:
            nn.init.zeros_(weight)
    z = model.draw_code(Noise(1, 4))
    coarse = model.games[-1].decode(z[:, :4])
    expected = double(double(coarse, (5, 4)), (9, 7))
    torch.testing.assert_close(model.decode(z), expected)
    torch.testing.assert_close(model.sample(4, seed=1), expected)
    torch.testing.assert_close(model.sample(4, seed=1, given=coarse), expected)


def test_true_coarse_pictures_are_refined_and_others_refused() -> None:
    model = lapgan()
    middle = torch.rand(4, 1, 5, 4)
    z = model.draw_code(Noise(1, 4))
    other = torch.cat([torch.zeros(4, 4 + 6), z[:, 4 + 6 :]], dim=1)  # neither the coarsest nor ...
    other[:, 4:10] = 0.0
    expected = model.decode(z, given=middle)
    assert expected.shape == (4, 1, 9, 7)
    torch.testing.assert_close(model.sample(4, seed=1, given=middle), expected)
    torch.testing.assert_close(model.decode(other, given=middle), expected)
    assert not torch.equal(model.decode(other.flip(0), given=middle), expected)
    with pytest.raises(DataError, match=r"\(1, 9, 7\) are no level.*\(1, 5, 4\), \(1, 3, 2\)"):
        model.sample(4, given=torch.zeros(4, 1, 9, 7))


def test_the_critic_of_a_band_sees_the_picture_and_what_the_band_lies_over() -> None:
    game, x = lapgan().games[0], torch.rand(4, 1, 9, 7)
    low = double(halve(x), (9, 7))
    seen: list[Tensor] = []
    game.critic.critic.register_forward_hook(lambda critic, inputs, scores: seen.append(inputs[0]))
    game.critic(x - low, Conditions(given=low))
    torch.testing.assert_close(seen[0], torch.cat([x, low], dim=1))


# -- GoGAN -----------------------------------------------------------------------------------------------------------


def test_margin_and_ranking_are_zero_when_ordered_and_linear_when_not() -> None:
    old = GAN(nn.Linear(2, 1), nn.Identity(), latent=2)
    old.spec = LINE
    nn.init.zeros_(old.generator.weight)
    nn.init.constant_(old.generator.bias, -1.0)  # always -1
    real = torch.tensor([[1.0], [1.5]])
    ranking = Ranking(old, margin=1.0, weight=3.0)
    assert ranking(nn.Identity(), real, torch.zeros(2, 1)).item() == 0.0
    assert margin(1.0).critic(real, torch.zeros(2, 1)).item() == 0.0
    assert ranking(nn.Identity(), real - 1, torch.zeros(2, 1)).item() == pytest.approx(3 * (1.0 + 0.5) / 2)


def test_a_stage_goes_on_from_the_generator_before_and_leaves_it() -> None:
    data = load_data("ring8")
    model = create("gogan", data, seed=0, width=16, latent=2, stages=3)
    assert isinstance(model, GoGAN)
    assert len({id(game.critic) for game in model.games}) == 1
    trainer = Trainer(model, data, Budget(steps=9), seed=0)
    for level, stage in enumerate(trainer.stages):
        trainer.place.stage, trainer.place.entered, trainer.place.round = level, False, 0
        trainer.enter(stage)
        assert int(model.level) == level
        before = [[weight.clone() for weight in game.generator.parameters()] for game in model.games]
        if level:
            assert all(map(torch.equal, before[level], before[level - 1]))
        trainer.play_round(stage)
        moved = [
            not all(map(torch.equal, game.generator.parameters(), weights))
            for game, weights in zip(model.games, before, strict=True)
        ]
        assert moved == [number == level for number in range(3)]
        noise = Noise(0, 4)
        torch.testing.assert_close(model.sample(4, seed=0), model.games[level].generator(noise.normal(2)))
    model.level.fill_(0)
    torch.testing.assert_close(model.sample(4, seed=0), model.games[0].draw(Noise(0, 4), NOTHING))


def test_later_generators_score_higher_and_lie_nearer() -> None:
    rng = np.random.default_rng(0)
    data = load_data((3 + 0.5 * rng.standard_normal((2000, 1))).astype(np.float32))
    model = create("gogan", data, seed=0, width=32, latent=2, stages=3, rate=1e-3)
    Trainer(model, data, Budget(steps=90), seed=0).run()
    x = data.split("test").first().x
    with torch.no_grad():
        drawn = [game.draw(Noise(0, 1000)) for game in model.games]
        scores = [model.games[0].critic(part).mean().item() for part in (*drawn, x)]
        far = [
            (part.sort(0).values[::100] - x.sort(0).values[:: len(x) // 10][:10]).abs().mean().item() for part in drawn
        ]
    assert scores[0] < scores[-1]
    assert far[2] < far[0]
