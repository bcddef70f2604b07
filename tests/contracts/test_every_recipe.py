"""What every registered recipe must keep, on every kind of data that it says it models."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import exnihilo.models  # noqa: F401
from exnihilo.core import GenerativeModel, ModelError, Noise, Unsupported, create, list_models
from exnihilo.core.data import KINDS
from exnihilo.data import load_data
from exnihilo.data.arrays import image_dataset
from exnihilo.data.audio import wave_dataset
from exnihilo.data.texts import text_dataset
from exnihilo.training import Budget, Hook, RunFolder, Trainer, load_model, train
from exnihilo.training.state import all_tensors

STEPS = 6
SMALL = {
    "width": 8, "depth": 2, "latent": 3, "hidden": 8, "components": 2, "blocks": 1, "sweeps": 3, "steps": 3,
    "maps": "8-16a", "norm_groups": 4, "pairs": 32,
}  # fmt: skip


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def tiny(kind: str):
    rng = np.random.default_rng(0)
    if kind == "image":
        pixels = (np.linspace(0, 200, 64).reshape(8, 8) + rng.integers(0, 56, size=(60, 8, 8))).astype(np.uint8)
        return load_data((pixels, rng.integers(0, 3, size=60)))
    if kind == "vector":
        return load_data(random(60, 5))
    if kind == "table":
        colour = rng.choice(["red", "green", "blue"], size=60)
        number = np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60))
        return load_data(pd.DataFrame({"colour": colour, "size": rng.integers(1, 5, size=60), "mass": number}))
    label = rng.integers(0, 3, size=60)
    if kind == "series":
        walk = random(60, 2, 12).cumsum(axis=2)
        walk[:, 1, 4:6][rng.random((60, 2)) < 0.1] = np.nan
        return load_data((walk, label), kind="series")
    if kind == "audio":
        return replace(wave_dataset(0.3 * random(60, 24).clip(-3, 3), label, rate=8000), source="tiny sound")
    if kind == "text":
        words = " ".join(rng.choice(["ab", "abba", "baa", "cab"], size=200))
        return replace(text_dataset({"words": words.encode()}, window=8), source="tiny text")
    raise ValueError(kind)


def tiny_of_levels(kind: str):
    """Two values or categories only, with classes: for models that take nothing continuous, or need labels."""
    if kind == "audio":
        return replace(wave_dataset(0.3 * random(60, 24).clip(-3, 3), rate=8000, levels=16), source="tiny levels")
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, size=60)
    if kind == "image":
        ink = rng.integers(0, 2, size=(60, 8, 8)).astype(np.uint8)
        return replace(image_dataset(ink, label, levels=2), source="tiny levels")
    if kind == "vector":
        return load_data((rng.integers(0, 2, size=(60, 5)), label))
    colour, shape = rng.choice(["red", "green", "blue"], size=60), rng.choice(["round", "square"], size=60)
    return load_data(pd.DataFrame({"colour": colour, "shape": shape, "class": label}), label="class")


DATA = {kind: tiny(kind) for kind in KINDS}
LEVELS = {kind: tiny_of_levels(kind) for kind in ("image", "vector", "table", "audio")}


@functools.cache
def data_for(name: str, kind: str):
    """The first of the data of a kind that the recipe does not refuse."""
    try:
        create(name, DATA[kind])
    except ModelError:
        return LEVELS[kind]
    return DATA[kind]


CASES = [(entry.name, kind) for entry in list_models() if entry.family != "own" for kind in entry.kinds]

every_case = pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda value: str(value))


def small(name: str, kind: str) -> GenerativeModel:
    entry = next(entry for entry in list_models() if entry.name == name)
    options = {option: size for option, size in SMALL.items() if option in entry.options}
    model = create(name, data_for(name, kind), seed=0, **options)
    model.batch = 8
    return model


def sampling(model: GenerativeModel) -> dict[str, int]:
    """Few steps and sweeps: contracts are about meaning, not quality."""
    from exnihilo.core.registry import signature_options

    options = signature_options(model.draw)
    return {name: 3 for name in ("steps", "sweeps") if name in options}


def imputing(model: GenerativeModel) -> dict[str, int]:
    """As `sampling`: denoisers go back once."""
    options = inspect.signature(model.impute).parameters
    return {name: size for name, size in {"steps": 12, "repeats": 2}.items() if name in options}


class StopAt(Hook):
    def __init__(self, total: int):
        self.total = total

    def round(self, trainer: Trainer) -> None:
        trainer.stop_requested = trainer.place.total == self.total


def trained(model: GenerativeModel, kind: str, hooks=()) -> Trainer:
    start = torch.get_rng_state()
    trainer = Trainer(model, data_for(model.recipe, kind), Budget(steps=STEPS), seed=1, hooks=hooks)
    trainer.run()
    assert torch.equal(start, torch.get_rng_state()), "the caller's random state moved"
    return trainer


@functools.lru_cache(maxsize=4)
def shared(name: str, kind: str) -> Trainer:
    """An uninterrupted training, to be read only. The tests of a case follow each other (conftest.py), so few last."""
    return trained(small(name, kind), kind)


def learned(name: str, kind: str) -> GenerativeModel:
    """A copy of the shared training's model."""
    return copy.deepcopy(shared(name, kind).model)


@every_case
def test_trains_and_stays_finite(name, kind):
    before, trainer = all_tensors(small(name, kind)), shared(name, kind)
    after = all_tensors(trainer.model)
    assert all(torch.isfinite(tensor).all() for tensor in after.values() if tensor.is_floating_point())
    assert any(before[key].shape != after[key].shape or not torch.equal(before[key], after[key]) for key in after)
    assert not trainer.model.training
    assert trainer.place.stage == len(trainer.stages)


@every_case
def test_each_player_moves_only_itself(name, kind):
    model = small(name, kind)
    trainer = Trainer(model, data_for(name, kind), Budget(steps=STEPS), seed=1)
    for index, stage in enumerate(trainer.stages):
        trainer.place.stage, trainer.place.entered, trainer.place.round = index, False, 0
        trainer.enter(stage)
        for player in trainer.players:
            own = {id(weight) for weight in player.module.parameters()}
            before = {key: weight.detach().clone() for key, weight in model.named_parameters()}
            if player.after is None and (player.when is None or player.when()):
                with trainer.only(player):
                    trainer.update(player)
                moved = {
                    key for key, weight in model.named_parameters() if not torch.equal(weight.detach(), before[key])
                }
                assert moved, f"{player.name} moved nothing"
                assert all(id(weight) in own for key, weight in model.named_parameters() if key in moved)


@every_case
@pytest.mark.parametrize("stop", [2, STEPS - 1])
def test_stopped_and_resumed_equals_uninterrupted(name, kind, stop, tmp_path):
    whole = shared(name, kind)
    if sum(whole.place.rounds) == 0:
        pytest.skip("closed form: no round to stop in")
    first = trained(small(name, kind), kind, hooks=[StopAt(stop)])
    record: dict[str, object] = {"format": 1}
    RunFolder(tmp_path / "run").save_state(record, first.capture(), first.good)
    second = Trainer(small(name, kind), data_for(name, kind), Budget(steps=STEPS), seed=1)
    second.restore(RunFolder(tmp_path / "run").state(record))
    second.run()
    expected, reached = all_tensors(whole.model), all_tensors(second.model)
    assert [key for key in expected if not torch.equal(expected[key], reached[key])] == []


@every_case
def test_saved_and_loaded_it_draws_the_same_without_data(name, kind, tmp_path):
    model = small(name, kind)
    run = train(model, data_for(name, kind), steps=STEPS, seed=1, out=tmp_path / "run", threads=1, progress=False)
    loaded = load_model(tmp_path / "run")
    assert loaded.recipe == name
    mine, theirs = all_tensors(run.model), all_tensors(loaded)
    private = {key for key in mine if key not in loaded.state_dict()}
    assert all(torch.equal(mine[key], theirs[key]) for key in set(mine) - private)
    if "sample" in model.capabilities:
        options = sampling(model)
        assert torch.equal(model.sample(3, seed=5, **options), loaded.sample(3, seed=5, **options))


@every_case
def test_sample_i_does_not_depend_on_the_batch(name, kind):
    model = learned(name, kind)
    if "sample" not in model.capabilities:
        with pytest.raises(Unsupported, match=f"{name} cannot sample"):
            model.sample(2)
        return
    options = sampling(model)
    state = torch.get_rng_state()
    together = model.sample(7, seed=3, **options)
    model.chunk = 2
    apart = model.sample(7, seed=3, **options)
    model.chunk = 512
    alone = model.sample(1, seed=Noise(3, [4]), **options)
    assert together.shape == (7, *model.spec.shape)
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together[4:5], alone, rtol=1e-3, atol=1e-3)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together, model.sample(7, seed=4, **options))
    assert torch.equal(state, torch.get_rng_state())
    assert len(model.spec.decode(together)) == 7


@every_case
def test_capabilities_keep_their_word(name, kind):
    model = learned(name, kind)
    x = data_for(name, kind).split("test").first(4).x
    if not model.mass:
        with torch.random.fork_rng():
            x = model.spec.dequantise(x)[0]
    have = set(model.capabilities)
    t = torch.full((4,), 0.5)

    def code() -> Tensor:
        return model.draw_code(Noise(0, 4)) if model.draws_codes else torch.zeros_like(model.encode(x))

    answers = {
        "log_prob": lambda: model.log_prob(x),
        "log_prob_bound": lambda: model.log_prob_bound(x, seed=0),
        "energy": lambda: model.energy(x),
        "score": lambda: model.score(x),
        "encode": lambda: model.encode(x),
        "decode": lambda: model.decode(code()),
        "reconstruct": lambda: model.reconstruct(x),
        "denoise": lambda: model.denoise(x, t).data,
        "classify": lambda: model.classify(x),
        "impute": lambda: model.impute(x, torch.rand(x.shape) > 0.5, seed=0, **imputing(model)),
    }
    shapes = {
        "log_prob": (4,), "log_prob_bound": (4,), "energy": (4,), "score": x.shape, "decode": x.shape,
        "reconstruct": x.shape, "denoise": x.shape, "classify": (4, model.spec.classes), "impute": x.shape,
    }  # fmt: skip
    for capability, answer in answers.items():
        if capability not in have:
            if capability != "decode":
                with pytest.raises(Unsupported):
                    answer()
            continue
        state = torch.get_rng_state()
        with torch.random.fork_rng():
            value = answer()
        assert torch.equal(state, torch.get_rng_state())
        assert torch.isfinite(value).all(), capability
        assert tuple(value.shape) == tuple(shapes.get(capability, value.shape)), capability
    if "impute" in have:
        mask = torch.zeros_like(x, dtype=torch.bool)
        mask[:, ..., :1] = True
        filled = model.impute(x, mask, seed=0, **imputing(model))
        torch.testing.assert_close(filled[mask], x[mask])
    if "log_prob" in have:
        torch.testing.assert_close(model.log_prob(x)[:1], model.log_prob(x[:1]), rtol=1e-4, atol=1e-3)
        if "log_prob_bound" in have:
            assert (model.log_prob_bound(x) <= model.log_prob(x) + 1e-3).all()


@every_case
def test_its_record_says_all(name, kind):
    entry = next(entry for entry in list_models() if entry.name == name)
    assert entry.title
    assert entry.year > 1800
    assert entry.summary.endswith(".")
    assert len(entry.summary) < 140
    assert set(small(name, kind).capabilities) <= set(entry.capabilities) | {"classify"}
    assert not math.isnan(sum(len(option.allowed) for option in entry.options.values()))


def test_deep_copies_are_models_of_their_own():
    """The trainer measures on copies; a copy's players must move the copy."""
    for name, kind in CASES:
        model = small(name, kind)
        twin = copy.deepcopy(model)
        own = {id(weight) for weight in twin.parameters()}
        for stage in twin.stages():
            for player in stage.players():
                assert {id(weight) for weight in player.module.parameters()} <= own, name
