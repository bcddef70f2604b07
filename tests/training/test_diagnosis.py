"""Each detector is provoked by a training that really goes wrong, and silent in one that does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import exnihilo.models  # noqa: F401
from exnihilo.core import NOTHING, DataSpec, Player, create
from exnihilo.data import load_data
from exnihilo.training import Budget, Trainer
from exnihilo.training.diagnosis import (
    DETECTORS,
    Diagnosis,
    class_collapses,
    critic_loses,
    critic_wins,
    generator_gradient_vanishes,
    nothing_improves,
    players_oscillate,
    samples_collapse,
    samples_drift,
    swings,
    when_to_stop,
)
from exnihilo.training.likeness import Likeness, Looks, class_spreads, is_due, spread_ratio
from tests.training.models import Tiny


@pytest.fixture(scope="module")
def data():
    return load_data("ring8")


def warnings(model, data, steps, **budget):
    said: list[str] = []
    Trainer(model, data, Budget(steps=steps), seed=0, hooks=[Looks(), Diagnosis(said.append)]).run()
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

    def draw(self, noise, asked=NOTHING):
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


def test_healthy_training_is_left_alone():
    digits = load_data("digits")
    assert warnings(create("vae", digits, width=32, latent=4), digits, 200) == ""


def game(n, **terms):
    """Lines of n marks of a healthy game with some terms changed: a number, or a function of the share that is done."""
    healthy = {
        "critic/accuracy": lambda t: 0.75 - 0.15 * t,
        "critic/adversarial": lambda t: 1.0 + 0.3 * t,
        "generator/gradient": 1.0,
        "samples/distance": lambda t: 0.02 + 0.5 * (1 - t) ** 4,
        "samples/spread": lambda t: 0.5 + 0.5 * t,
        "samples/class_spread": lambda t: 0.4 + 0.4 * t,
        "samples/narrowest_class": 3.0,
    }
    terms = healthy | {name.replace("__", "/"): term for name, term in terms.items()}
    at = [place / n for place in range(1, n + 1)]
    return [
        {"round": 100.0 * (place + 1)} | {name: term(t) if callable(term) else term for name, term in terms.items()}
        for place, t in enumerate(at)
    ]


def test_no_detector_speaks_in_a_healthy_game():
    for n in range(1, 51):
        assert [detector(game(50)[:n]) for detector in DETECTORS] == [None] * len(DETECTORS)
    assert [detector([{"round": 1.0}] * 60) for detector in DETECTORS] == [None] * len(DETECTORS)


def swinging(low, high):
    return lambda t: high if round(50 * t) // 4 % 2 else low


@pytest.mark.parametrize(
    ("detector", "terms", "said"),
    [
        (critic_wins, {"critic__accuracy": 0.998, "samples__distance": 0.3}, "100% of cases or more"),
        (critic_wins, {"critic__accuracy": 0.998}, None),  # the samples come nearer all the same
        (critic_wins, {"critic__accuracy": 0.998, "samples__distance": 0.05}, None),
        (critic_loses, {"critic__accuracy": 0.3}, "30% of cases or less"),
        (generator_gradient_vanishes, {"generator__gradient": lambda t: 10 ** (-4 * t)}, "gradient has vanished"),
        (players_oscillate, {"critic__accuracy": swinging(0.45, 0.97)}, "accuracy swung between 45% and 97%"),
        (players_oscillate, {"critic__adversarial": swinging(0.2, 1.0)}, None),  # not about its median
        (players_oscillate, {"critic__adversarial": lambda t: 0.9 + 0.8 * swinging(-1, 1)(t)}, None),
        (samples_collapse, {"samples__spread": lambda t: 1 - 0.9 * t}, "samples are 10% as far apart"),
        (class_collapses, {"samples__class_spread": 0.05}, "samples of class 3 (counted from 0) are 5%"),
        (nothing_improves, {"samples__distance": lambda t: 1.3 - 0.05 * t}, "1.2 of the data's variance"),
        (samples_drift, {"samples__distance": lambda t: 0.02 + 0.4 * max(0, t - 0.5)}, "were 0.02 before"),
    ],
)
def test_a_detector_tells_what_it_sees(detector, terms, said):
    message = detector(game(50, **terms))
    assert (message is None) if said is None else (said in message and "Try" in message)
    others = [other.__name__ for other in DETECTORS if other is not detector and other(game(50, **terms))]
    assert others == []


def test_a_loss_that_swings_about_its_median_oscillates():
    wave = [0.2, 1.0, 5.0, 1.0] * 13
    assert "loss swung between 0.2 and 5" in players_oscillate(
        game(50, critic__adversarial=lambda t: wave[int(50 * t)])
    )


def test_swings_need_both_sides():
    assert swings([0.0, 1.0, 0.0, 1.0], 0.4, 0.6) == 3
    assert swings([0.0, 0.5, 0.0, 0.5], 0.4, 0.6) == 0


def test_a_whole_collapse_is_not_told_again_for_a_class():
    lines = game(50, samples__spread=0.1, samples__class_spread=0.1)
    assert samples_collapse(lines)
    assert class_collapses(lines) is None


def test_when_to_stop():
    falling = when_to_stop(game(50, samples__distance=lambda t: 1 - t))
    assert "still falls: train longer" in falling
    assert falling.startswith("Critic accuracy 0.61 over the last tenth")
    flat = {"samples__distance": lambda t: max(0.1, 0.6 - t)}
    assert "has not fallen since round 2500: longer training is unlikely to help." in when_to_stop(game(50, **flat))
    sure = when_to_stop(game(50, critic__accuracy=0.97, **flat))
    assert "the critic can still tell" in sure
    began = when_to_stop(game(50, critic__convergence=lambda t: 1 - t, **flat))
    assert "the convergence measure still falls: train longer" in began
    assert when_to_stop(game(4)) is None
    assert when_to_stop([{"round": 1.0, "model/loss": 1.0}] * 50) is None


def test_likeness_is_the_frechet_distance_over_the_variance():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(4000, 2, 3, generator=generator)
    likeness = Likeness(real)
    assert likeness.distance(real) == pytest.approx(0, abs=1e-6)
    mean = real.mean(dim=0).expand(10, 2, 3)
    assert likeness.distance(mean) == pytest.approx(1, rel=1e-5)  # a generator of the mean alone
    variance = float(real.double().flatten(1).var(dim=0).sum())
    assert likeness.distance(real + 1) == pytest.approx(6 / variance, rel=1e-4)
    wide = Likeness(torch.randn(500, 100, generator=generator))  # projected
    assert wide.distance(torch.zeros(9, 100)) == pytest.approx(1, rel=0.05)


def test_spreads_within_classes():
    real = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    label = torch.arange(60) % 3
    label[:3] = -1
    samples = torch.where((label == 1)[:, None], 0.0, real)
    assert spread_ratio(real, real) == 1.0
    ratios = class_spreads(samples, real, label)
    assert ratios == {0: 1.0, 1: 0.0, 2: 1.0}
    assert class_spreads(samples[:9], real[:9], label[:9]) == {}  # too few of each


def test_looks_are_a_hundred_rounds_apart_and_at_the_end():
    due = [round for round in range(1, 1001) if round % 20 == 0 and is_due(round, 1000)]
    assert due == list(range(100, 1001, 100))
    assert is_due(30, 30)
    assert not is_due(29, 30)
    assert is_due(1000, 100_000)


def test_looks_change_nothing_and_are_in_the_journal(data):
    def weights(*hooks):
        model = create("gan", data, seed=0, width=16)
        Trainer(model, data, Budget(steps=220), seed=0, hooks=hooks).run()
        return torch.cat([weight.flatten() for weight in model.state_dict().values()])

    seen = Diagnosis(lambda text: None)
    before = torch.get_rng_state()
    assert torch.equal(weights(), weights(Looks(), seen))
    assert torch.equal(before, torch.get_rng_state())
    looks = [line["samples/distance"] for line in seen.lines if "samples/distance" in line]
    assert len(looks) == 3
    assert all(0 <= look < 5 for look in looks)


def test_a_class_that_collapses_is_found_by_drawing_it(data):
    class Stuck(Duel):
        labelled = True

        def draw(self, noise, asked=NOTHING):
            x = noise.normal(2)
            return torch.where((asked.label == 5)[:, None], 1.0, x)

    model = Stuck(data.spec, saturating=False)
    trainer = Trainer(model, data, Budget(steps=10), hooks=[])
    trainer.enter(trainer.stages[0])
    trainer.place.round, trainer.place.rounds[0] = 10, 10
    figures = Looks().terms(trainer)
    assert figures["samples/class_spread"] == 0.0
    assert figures["samples/narrowest_class"] == 5.0
    assert figures["samples/spread"] > 0.5


def test_the_advice_is_told_and_the_same_after_a_resume(data, tmp_path):
    from exnihilo.training import Hook, train

    class Stop(Hook):
        def round(self, trainer):
            trainer.stop_requested = trainer.place.total == 450

    def run(folder, *hooks):
        return train(create("gan", data, seed=0, width=16), data, steps=700, out=folder, progress=False, hooks=hooks)

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", Stop()).status == "stopped"
    parts = run(tmp_path / "parts")
    assert parts.status == "finished"
    assert whole.record["advice"] == parts.record["advice"]
    strip = [[{k: v for k, v in line.items() if k != "seconds"} for line in run.journal] for run in (whole, parts)]
    assert strip[0] == strip[1]
    assert whole.record["advice"] in (tmp_path / "whole" / "README.md").read_text()


def test_other_models_are_not_looked_at():
    spec = DataSpec("vector", (3,))
    noise = load_data(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).numpy())
    trainer = Trainer(Tiny(spec), noise, Budget(steps=5))
    trainer.enter(trainer.stages[0])
    trainer.place.round, trainer.place.rounds[0] = 5, 5
    assert Looks().terms(trainer) == {}
