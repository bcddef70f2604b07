from __future__ import annotations

import pytest
import torch

from exnihilo.core import Batch, DataSpec, GenerativeModel, Noise, OptionError, Unsupported, recipe
from tests.core.models import CLASSES, SPEC, Bell, Bells, Coder, Duel, bell, stamped


def test_capabilities_follow_from_what_a_class_writes() -> None:
    assert GenerativeModel.class_capabilities() == ()
    assert Bell.class_capabilities() == ("sample", "log_prob", "log_prob_bound", "energy", "score")
    assert Coder.class_capabilities() == ("encode", "decode", "reconstruct")


def test_what_is_derived_is_right() -> None:
    model, x = stamped(Bell(2)), torch.randn(5, 2)
    assert torch.equal(model.log_prob_bound(x), model.log_prob(x))
    assert torch.equal(model.energy(x), -model.log_prob(x))
    assert torch.allclose(model.score(x), 1 - x)  # of N(1, 1)
    with torch.no_grad():
        assert torch.allclose(model.score(x), 1 - x)
    assert torch.equal(stamped(Coder()).reconstruct(x), x)


@pytest.mark.parametrize("capability", ["log_prob", "energy", "score", "encode", "denoise", "classify", "impute"])
def test_what_a_model_lacks_it_says_and_names_models_that_have_it(capability: str) -> None:
    recipe("On Bells", "Gauss, 1809", kinds=("vector",))(bell)
    x = torch.zeros(1, 2)
    arguments = {"denoise": (x, torch.zeros(1)), "impute": (x, x > 0)}.get(capability, (x,))
    model = stamped(Duel())
    able = "bell" if capability in Bell.class_capabilities() else r"\(none\)"
    with pytest.raises(Unsupported, match=f"test_model cannot {capability}.*Models that can: {able}"):
        getattr(model, capability)(*arguments)


def test_a_model_that_cannot_draw_cannot_sample() -> None:
    with pytest.raises(Unsupported, match=r"cannot sample. It can: encode, decode, reconstruct"):
        stamped(Coder()).sample(1)


def test_an_instance_may_withdraw_a_capability_and_what_follows_from_it() -> None:
    model = stamped(Bell(2))
    model.withdrawn = frozenset({"log_prob", "log_prob_bound", "energy", "score"})
    assert model.capabilities == ("sample",)
    with pytest.raises(Unsupported):
        model.energy(torch.zeros(1, 2))


def test_a_labelled_density_classifies_by_bayes_rule() -> None:
    model = stamped(Bells(2), CLASSES)
    assert "classify" in model.capabilities
    x = torch.tensor([[0.0, 0.0], [2.2, 1.9]])
    classes = torch.arange(3.0)
    joint = (
        torch.tensor(CLASSES.class_shares).log() - (x[:, :1] - classes).square() / 2 - (x[:, 1:] - classes).square() / 2
    )
    assert torch.allclose(model.classify(x), joint.log_softmax(dim=1), atol=1e-6)
    with pytest.raises(Unsupported):
        stamped(Bells(2), SPEC).classify(x)  # data without classes


# -- sampling ------------------------------------------------------------------------------------------------------


def test_a_sample_depends_on_seed_and_place_only() -> None:
    model = stamped(Bell(2))
    whole = model.sample(10, seed=5)
    model.chunk = 3
    assert torch.equal(model.sample(10, seed=5), whole)
    assert torch.equal(model.sample(4, seed=5), whole[:4])
    assert torch.equal(model.sample(1, seed=Noise(5, [7])), whole[7:8])
    assert not torch.equal(model.sample(10, seed=6), whole)


def test_sampling_leaves_mode_gradients_and_random_state_alone() -> None:
    model = stamped(Bell(2)).train()
    before = torch.get_rng_state()
    x = model.sample(3, seed=0)
    assert model.training
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_every_call_differs() -> None:
    model = stamped(Bell(2))
    assert not torch.equal(model.sample(4), model.sample(4))


def test_the_keywords_of_draw_are_the_sampling_options() -> None:
    model = stamped(Bell(2))
    assert torch.allclose(model.sample(4, seed=0, scale="0"), torch.ones(4, 2))
    with pytest.raises(OptionError, match=r"test_model has no option 'scael'. Did you mean 'scale'\?"):
        model.sample(1, scael=1)
    with pytest.raises(OptionError, match="scale=11 is not allowed"):
        model.sample(1, scale=11)
    with pytest.raises(OptionError, match="n=0 is not allowed"):
        model.sample(0)


def test_a_labelled_model_that_is_asked_nothing_draws_classes_by_their_shares() -> None:
    model = stamped(Bells(2), CLASSES)
    drawn = model.sample(4000, seed=0)[:, 0].long().bincount(minlength=3) / 4000
    assert torch.allclose(drawn, torch.tensor(CLASSES.class_shares), atol=0.03)
    assert model.sample(3, seed=0, label="cat")[:, 0].tolist() == [2, 2, 2]
    assert model.sample(2, seed=0, label=["bee", 0])[:, 0].tolist() == [1, 0]


# -- training ------------------------------------------------------------------------------------------------------


def test_one_player_moves_everything_unless_the_model_says_otherwise() -> None:
    model = stamped(Bell(2))
    (player,) = model.players()
    assert (player.name, player.module) == ("model", model)
    (stage,) = model.stages()
    assert [player.name for player in stage.players()] == ["model"]
    with pytest.raises(NotImplementedError, match="Bell has neither a loss nor players"):
        model.loss(Batch(torch.zeros(1, 2)))


def test_the_figure_of_validation_is_the_likelihood_where_there_is_one() -> None:
    x = torch.randn(8, 2)
    model = stamped(Bell(2))
    assert torch.allclose(model.validate(Batch(x))["nats"], -model.log_prob(x).mean())
    assert stamped(Duel()).validate(Batch(x)) == {}


def test_a_density_of_levels_is_validated_on_dequantised_data() -> None:
    spec = DataSpec("vector", (2,), levels=2, examples=10)
    model, x = stamped(Bell(2), spec), torch.ones(1000, 2)
    nats = float(model.validate(Batch(x))["nats"].detach())
    exact = float(-model.log_prob(x).mean().detach())
    assert nats > exact + 0.01  # the noise added to the levels, of variance 1/12 each, costs half of it each
    assert nats == pytest.approx(exact + 1 / 12, abs=0.02)


def test_validation_without_a_gradient_still_counts_what_is_minimised_and_nothing_else() -> None:
    class Penalised(Coder):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(2.0))

        def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
            return {"error": self.weight, "penalty": 3 * self.weight, "logged": torch.tensor(100.0)}

    with torch.no_grad():
        figures = stamped(Penalised()).validate(Batch(torch.zeros(2, 2)))
    assert float(figures["loss"]) == 8.0
    assert not figures["loss"].requires_grad


def test_what_a_class_withdraws_its_table_entry_lacks_too() -> None:
    class Levels(Bell):
        mass = True

    class Silent(Bell):
        withdrawn = frozenset({"energy"})

    assert Levels.class_capabilities() == ("sample", "log_prob", "log_prob_bound", "energy")
    assert Silent.class_capabilities() == ("sample", "log_prob", "log_prob_bound")
