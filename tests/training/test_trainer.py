"""The mechanics of the loop, on small models that need each of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from exnihilo.core import GenerativeModel, Player, PowerAverage, TrainingError
from exnihilo.data import load_data
from exnihilo.training import Budget, Hardware, Hook, RunFolder, Trainer
from exnihilo.training.state import all_tensors, shared_tensors
from tests.training.models import MODELS, Closed, Game, Growing, Replay, Tiny, Unjudged


@pytest.fixture(scope="module")
def data():
    return load_data(torch.randn(120, 5, generator=torch.Generator().manual_seed(0)).numpy())


def build(kind: type[GenerativeModel], data) -> GenerativeModel:
    torch.manual_seed(7)
    return kind(data.spec)


class StopAt(Hook):
    """Asks for a stop after a number of rounds, as Ctrl-C would."""

    def __init__(self, total: int):
        self.total = total

    def round(self, trainer: Trainer) -> None:
        trainer.stop_requested = trainer.place.total == self.total


def finish(kind, data, steps=12, **options) -> Trainer:
    trainer = Trainer(build(kind, data), data, Budget(steps=steps), seed=3, **options)
    assert trainer.run()
    return trainer


def resumed(kind, data, folder, stop, steps=12, spoil=None) -> Trainer:
    """Stop at a round, write the state, and go on from the files with a new model."""
    first = Trainer(build(kind, data), data, Budget(steps=steps), seed=3, hooks=[StopAt(stop)])
    assert not first.run()
    record: dict[str, object] = {"format": 1}
    RunFolder(folder).save_state(record, first.capture(), first.good)
    state = RunFolder(folder).state(RunFolder(folder).record())
    if spoil:
        state.tensors[spoil].zero_()
    second = Trainer(build(kind, data), data, Budget(steps=steps), seed=3)
    second.restore(state)
    assert second.run()
    return second


def same(a: Trainer, b: Trainer) -> bool:
    mine, theirs = all_tensors(a.model), all_tensors(b.model)
    return a.place.position == b.place.position and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind is not Closed])  # it has no round to stop in
@pytest.mark.parametrize("stop", [5, 10])
def test_stopped_and_resumed_equals_uninterrupted(kind, stop, data, tmp_path):
    assert same(finish(kind, data), resumed(kind, data, tmp_path / "run", stop))


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [(Replay, "model|pool"), (Game, "model|turns"), (Tiny, "average|mean"), (Tiny, "optimizer:model|0/exp_avg")],
)
def test_the_resume_test_can_fail(kind, spoil, data, tmp_path):
    assert not same(finish(kind, data), resumed(kind, data, tmp_path / "run", 5, spoil=spoil))


def test_the_callers_random_state_is_untouched(data):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    model = Tiny(data.spec)
    Trainer(model, data, Budget(steps=5), seed=3).run()
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides_everything(data):
    one, two = finish(Tiny, data), finish(Tiny, data)
    torch.manual_seed(99)
    other = Trainer(build(Tiny, data), data, Budget(steps=12), seed=4)
    other.run()
    assert same(one, two)
    assert not same(one, other)


def test_players_take_their_turns(data):
    model = finish(Game, data, steps=12).model
    assert model.turns[0] == 24  # two updates a round
    assert model.turns[1] == 4  # each third round
    assert model.turns[2] == 6  # sits out when the critic's count is a multiple of four


def test_an_update_moves_only_its_player_and_flags_come_back(data):
    trainer = Trainer(build(Game, data), data, Budget(steps=3), seed=3)
    trainer.enter(trainer.stages[0])
    trainer.model.spare.weight.requires_grad_(False)
    flags = {name: weight.requires_grad for name, weight in trainer.model.named_parameters()}
    critic = trainer.players[0]
    before = copy.deepcopy(trainer.model.state_dict())
    with trainer.only(critic):
        assert not trainer.model.generator.weight.requires_grad
        trainer.update(critic)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"critic.weight", "turns"}  # the bias cancels between real and fake
    assert flags == {name: weight.requires_grad for name, weight in trainer.model.named_parameters()}


def test_after_moves_a_teacher_that_no_player_owns(data):
    start = build(Game, data).teacher.weight
    assert not torch.equal(start, finish(Game, data).model.teacher.weight)


def test_players_of_one_name_share_an_optimiser(data):
    trainer = Trainer(build(Game, data), data, Budget(steps=3), seed=3)
    trainer.enter(trainer.stages[0])
    assert set(trainer.optimizers) == {"critic", "generator"}


def test_lazy_losses_are_scaled(data):
    """With plain descent, a penalty each third round moves the weights three times as far in its round."""

    class Lazy(Unjudged):
        every = 1

        def players(self):
            from exnihilo.core import sgd

            return [
                Player("model", self, lambda batch: {"mean": self.mean.sum()}, every=self.every, optimizer=sgd(0.1))
            ]

    moved = []
    for every in (1, 3):
        model = Lazy(data.spec)
        model.every, model.average = every, False
        Trainer(model, data, Budget(steps=3), seed=0).run()
        moved.append(model.mean.detach())
    torch.testing.assert_close(moved[0], moved[1])


def test_stages_share_the_steps_and_rest_in_between(data):
    class Watch(Hook):
        def __init__(self):
            self.rounds = []

        def round(self, trainer):
            model = trainer.model
            stage = trainer.stages[trainer.place.stage].name
            self.rounds.append((stage, model.blocks[0].training, model.blocks[1].training))

    watch = Watch()
    model = finish(Growing, data, hooks=[watch]).model
    assert watch.rounds == [("small", True, False)] * 8 + [("large", False, True)] * 4
    assert int(model.level) == 1


def test_a_view_reweights_the_data(data):
    trainer = Trainer(build(Growing, data), data, Budget(steps=12), seed=3)
    trainer.place.stage = 1
    trainer.enter(trainer.stages[1])
    drawn = torch.cat([trainer.view.batch(k, 64, 0).x for k in range(20)]).norm(dim=1).mean()
    assert drawn > data.split("train").first().x.norm(dim=1).mean() * 1.03


def test_closed_form_stages_have_no_rounds(data):
    trainer = finish(Closed, data)
    assert trainer.place.rounds == [0]
    assert len(trainer.model.points) == len(data.split("train"))


def test_tied_and_private_tensors_in_the_weights(data):
    names = set(shared_tensors(build(Replay, data)))
    assert "front.weight" in names
    assert "back.weight" not in names
    assert "pool" not in names


def test_gradient_accumulation_equals_one_large_batch(data):
    class Plain(Tiny):
        average = False

        def loss(self, batch):
            return {"nats": -self.log_prob(batch.x).mean()}

    whole, parts = (
        Trainer(Plain(data.spec), data, Budget(steps=6), seed=3, accumulate=accumulate) for accumulate in (1, 4)
    )
    whole.run(), parts.run()
    torch.testing.assert_close(whole.model.mean, parts.model.mean, rtol=1e-5, atol=1e-6)


def test_accumulation_is_refused_where_examples_are_compared(data):
    class Coupled(Tiny):
        def players(self):
            return [Player("model", self, self.loss, coupled=True)]

    with pytest.raises(TrainingError, match="accumulate=1"):
        Trainer(Coupled(data.spec), data, Budget(steps=2), accumulate=2).run()


def test_terms_without_a_gradient_are_an_error(data):
    class Idle(Tiny):
        def loss(self, batch):
            return {"nothing": batch.x.mean()}

    with pytest.raises(TrainingError, match="No term of model"):
        Trainer(Idle(data.spec), data, Budget(steps=2)).run()


def test_a_player_must_be_the_models_own(data):
    class Foreign(Tiny):
        def players(self):
            return [Player("stranger", nn.Linear(2, 2), self.loss)]

    with pytest.raises(TrainingError, match="not the model's own"):
        Trainer(Foreign(data.spec), data, Budget(steps=2)).run()


class Exploding(Tiny):
    """Its loss becomes infinite in round 6 at the full rate, and always from a given number of roll-backs on."""

    def __init__(self, spec, stubborn=False):
        super().__init__(spec)
        self.stubborn = stubborn
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch):
        terms = super().loss(batch)
        if self.progress >= 0.5 and (self.stubborn or self.rate() > 5e-3):
            return {"nats": terms["nats"] * float("nan")}
        return terms

    def rate(self) -> float:
        return self.trainer.optimizers["model"].param_groups[0]["lr"] * self.trainer.place.rate


def explode(data, stubborn):
    model = Exploding(data.spec, stubborn)
    trainer = Trainer(model, data, Budget(steps=20), seed=3)
    object.__setattr__(model, "trainer", trainer)
    return trainer


def test_a_loss_that_is_not_finite_rolls_back_and_lowers_the_rate(data):
    said = []
    trainer = explode(data, stubborn=False)
    hook = Hook()
    hook.say = said.append
    trainer.hooks = [hook]
    assert trainer.run()
    assert trainer.place.rate == 0.1
    assert torch.isfinite(trainer.model.mean).all()
    assert "back to round 10" in said[0]


def test_a_second_failure_stops_with_advice_and_good_weights(data):
    trainer = explode(data, stubborn=True)
    with pytest.raises(TrainingError, match="Try a smaller rate"):
        trainer.run()
    assert torch.isfinite(trainer.model.mean).all()


def test_the_best_validated_weights_are_kept(data):
    class Leaving(Tiny):
        """Its best moment is before the end."""

        def players(self):
            return [Player("model", self, self.loss, after=self.leave)]

        def leave(self, terms):
            if self.progress > 0.6:
                self.mean.add_(3.0)

    model = Leaving(data.spec)
    model.average = False
    trainer = Trainer(model, data, Budget(steps=50), seed=3)
    trainer.run()
    assert 0 < trainer.place.best_round <= 31
    assert model.mean.abs().max() < 2


def test_the_power_average_weights_the_rounds_as_a_power_law():
    """After t rounds, round i has the weight that (i/t)^gamma di/t gives it: the mean round is (g+1)/(g+2) t."""
    line = nn.Linear(1, 1)
    average = PowerAverage(line)
    for round in range(1, 1001):
        with torch.no_grad():
            line.weight.fill_(round)
        average.update()
    expected = 1000 * (average.gamma + 1) / (average.gamma + 2)
    assert abs(float(average.weights["weight"]) - expected) < 2
    held = average.weights["weight"].clone()
    average.swap()
    assert torch.equal(line.weight, held)
    average.swap()
    assert line.weight.item() == 1000


def test_bfloat16_trains(data):
    trainer = Trainer(build(Replay, data), data, Budget(steps=4), hardware=Hardware("cpu", "bfloat16"))
    assert trainer.run()
    assert torch.isfinite(trainer.model.front.weight).all()


def test_a_budget_of_seconds_fixes_its_rounds_once(data):
    trainer = Trainer(build(Tiny, data), data, Budget(seconds=0.5), seed=3)
    trainer.run()
    assert 0.2 < trainer.place.seconds < 0.7
    assert trainer.place.rounds[0] > 20


@pytest.mark.slow
def test_compiled_training_goes_where_the_plain_one_goes(data):
    plain = finish(Replay, data)
    compiled = finish(Replay, data, hardware=Hardware("cpu", compile=True))
    torch.testing.assert_close(plain.model.front.weight, compiled.model.front.weight, rtol=1e-3, atol=1e-4)
