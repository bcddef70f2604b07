"""The rules of the contract that the trainer holds, each on the smallest model that could break it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from exnihilo.core import Player, Stage, TrainingError
from exnihilo.data import load_data
from exnihilo.training import Budget, Hardware, Hook, RunFolder, Trainer
from exnihilo.training.hardware import estimate_bytes, turn_seconds
from exnihilo.training.state import all_tensors, shared_tensors
from tests.training.models import Game, Replay, Tiny, Unjudged


@pytest.fixture(scope="module")
def data():
    return load_data(torch.randn(120, 5, generator=torch.Generator().manual_seed(0)).numpy())


class Plain(Tiny):
    """No chance in its loss, no average: only the gradient counts."""

    average = False

    def loss(self, batch):
        return {"nats": -self.log_prob(batch.x).mean(), "first": batch.x[:, 0].mean()}


class Stages(Unjudged):
    """One player by one name in two stages."""

    def stages(self):
        yield Stage("one", self.players)
        yield Stage("two", self.players)


class Trunk(Unjudged):
    """Two players of different names share a trunk, as the critic and the recogniser of InfoGAN do."""

    average = False

    def __init__(self, spec):
        super().__init__(spec)
        self.trunk, self.left, self.right = (nn.Linear(spec.size, spec.size) for _ in range(3))

    def players(self):
        for name, head in (("left", self.left), ("right", self.right)):
            yield Player(name, nn.ModuleList([self.trunk, head]), self.error(head))

    def error(self, head):
        return lambda batch: {"error": (head(self.trunk(batch.x)) - batch.x).square().mean()}


def test_entering_a_stage_renews_the_optimisers_and_the_average(data):
    trainer = Trainer(Stages(data.spec), data, Budget(steps=8), seed=3)
    kept = []

    class Watch(Hook):
        def stage(self, trainer):
            kept.append(copy.deepcopy(trainer.model.mean.detach()))

    trainer.hooks = [Watch()]
    first = trainer.stages[0]
    trainer.enter(first)
    while not trainer.stage_is_over():
        trainer.play_round(first)
    old = trainer.optimizers["model"]
    assert trainer.average.rounds == 4
    assert old.state
    trainer.leave()
    trainer.enter(trainer.stages[1])
    assert trainer.optimizers["model"] is not old
    assert not trainer.optimizers["model"].state
    assert trainer.average.rounds == 0
    assert torch.equal(trainer.average.weights["mean"], trainer.model.mean)
    assert torch.equal(kept[0], trainer.model.mean.detach())  # it goes on from what the first stage is kept by


def test_players_of_different_names_may_overlap_and_keep_their_own_optimisers(data):
    trainer = Trainer(Trunk(data.spec), data, Budget(steps=3), seed=3)
    trainer.enter(trainer.stages[0])
    shared = trainer.model.trunk.weight
    for player, head in zip(trainer.players, (trainer.model.left, trainer.model.right), strict=True):
        before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
        with trainer.only(player):
            trainer.update(player)
        moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
        own = "left" if head is trainer.model.left else "right"
        assert moved == {"trunk.weight", "trunk.bias", f"{own}.weight", f"{own}.bias"}
    left, right = (trainer.optimizers[name].state[shared]["exp_avg"] for name in ("left", "right"))
    assert not torch.equal(left, right)


def test_players_of_one_name_must_share_what_they_move(data):
    class Two(Trunk):
        def players(self):
            return [Player("model", head, self.error(head)) for head in (self.left, self.right)]

    with pytest.raises(TrainingError, match="Two players named model"):
        Trainer(Two(data.spec), data, Budget(steps=2)).run()


def test_flags_come_back_also_after_an_error(data):
    trainer = Trainer(Game(data.spec), data, Budget(steps=2), seed=3)
    trainer.enter(trainer.stages[0])

    def broken(batch):
        raise ZeroDivisionError

    trainer.losses[id(trainer.players[0])] = broken
    with pytest.raises(ZeroDivisionError):
        trainer.play_round(trainer.stages[0])
    assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_what_only_a_resume_needs_is_in_the_state_and_not_in_the_weights(data):
    trainer = Trainer(Replay(data.spec), data, Budget(steps=4), seed=3)
    trainer.run()
    assert "model|pool" in trainer.capture().tensors
    assert "pool" not in shared_tensors(trainer.model)
    assert sum(name.endswith("weight") for name in all_tensors(trainer.model)) == 1  # tied: written once


@pytest.mark.parametrize("accumulate", [3, 4])  # parts of 4, 4 and 2; of 3, 3, 3 and 1
def test_parts_weigh_by_their_examples(accumulate, data):
    whole, parts = (Trainer(Plain(data.spec), data, Budget(steps=6), seed=3, accumulate=a) for a in (1, accumulate))
    for trainer in (whole, parts):
        trainer.model.batch = 10
        trainer.model.optimizer = trainer.model.optimizer.__class__(torch.optim.SGD, 0.1)
        assert trainer.run()
    torch.testing.assert_close(whole.model.mean, parts.model.mean, rtol=1e-5, atol=1e-6)


def test_after_is_told_the_terms_of_the_whole_batch(data):
    told: list[dict[str, torch.Tensor]] = []

    class Told(Plain):
        batch = 10

        def players(self):
            return [Player("model", self, self.loss, after=told.append)]

    for accumulate in (1, 4):
        assert Trainer(Told(data.spec), data, Budget(steps=1), seed=3, accumulate=accumulate).run()
    whole, parts = told
    assert not any(term.requires_grad for term in parts.values())
    torch.testing.assert_close(whole, parts)


class Half(Unjudged):
    """Its first gradients are too large for float16 at the scale that it starts with."""

    def loss(self, batch):
        return {"error": 100 * (batch.x - self.mean).square().sum(dim=1).mean()}


class StopAt(Hook):
    def __init__(self, total):
        self.total = total

    def round(self, trainer):
        trainer.stop_requested = trainer.place.total == self.total


def test_float16_finds_its_scale_without_a_roll_back_and_a_resume_knows_it(data, tmp_path):
    def begin(*hooks):
        return Trainer(
            Half(data.spec), data, Budget(steps=12), seed=3, hardware=Hardware("cpu", "float16"), hooks=hooks
        )

    whole = begin()
    whole.hardware.scaler._init_scale = 2.0**125  # surely too large
    assert whole.run()
    assert whole.place.rate == 1.0
    first = begin(StopAt(7))
    first.hardware.scaler._init_scale = 2.0**125
    assert not first.run()
    record: dict[str, object] = {"format": 1}
    RunFolder(tmp_path).save_state(record, first.capture(), first.good)
    second = begin()
    second.restore(RunFolder(tmp_path).state(record))
    assert second.hardware.scaler.get_scale() == first.hardware.scaler.get_scale() < 2.0**125
    assert second.run()
    assert torch.equal(whole.model.mean, second.model.mean)


def test_size_and_time_are_estimated_where_the_model_is(data):
    """On the `meta` device a batch that stayed on the processor is an error, as on any accelerator."""
    model = Replay(data.spec).to("meta")
    assert estimate_bytes(model, data) > 0
    assert turn_seconds(model, data, 1) > 0
