"""Whatever decodes can be explored: the codes that a recipe draws are those its samples begin with."""

from __future__ import annotations

from inspect import signature

import pytest
import torch

import exnihilo.models
from exnihilo.core import GenerativeModel, create, list_models
from exnihilo.data import load_data
from exnihilo.explore import codes_of_draws, codes_of_examples, interpolate, of_class, traverse, typical_codes

SMALL = {"width": 8, "depth": 2, "latent": 3, "hidden": 8, "components": 2, "blocks": 1}
DATA = load_data("digits")
DECODING = [entry for entry in list_models() if "decode" in entry.capabilities and "image" in entry.kinds]


def small(name: str) -> GenerativeModel:
    options = next(entry.options for entry in list_models() if entry.name == name)
    return create(name, DATA, seed=0, **{option: size for option, size in SMALL.items() if option in options})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exnihilo.models.diffusion.family.CODE_STEPS", 2)


@pytest.mark.parametrize("name", [entry.name for entry in DECODING])
def test_an_untrained_model_is_explored(name: str) -> None:
    model = small(name)
    if model.draws_codes:
        codes = codes_of_draws(model, range(4), seed=0)
        assert torch.equal(codes[2:], codes_of_draws(model, [2, 3], seed=0))
    else:
        codes, _ = codes_of_examples(model, DATA, [0, 1, 2, 3])
    view = interpolate(model, codes[:2].float(), codes[2:].float(), steps=3)
    assert view.x.shape == (2, 3, 1, 8, 8)
    assert view.x.isfinite().all()
    walk = traverse(model, typical_codes(model, DATA, n=30).float(), coordinates=[0], steps=3)
    assert walk.x.shape == (1, 3, 1, 8, 8)


@pytest.mark.parametrize("name", [entry.name for entry in DECODING])
def test_a_class_is_given_where_the_decoder_takes_one(name: str) -> None:
    model = small(name)
    if not model.labelled or "label" not in signature(model.decode).parameters:
        with pytest.raises(exnihilo.core.DataError, match="cannot be asked for one"):
            of_class(model, "3")
        return
    three = of_class(model, "3")
    assert three.draws_codes == model.draws_codes
    z = codes_of_draws(three, range(3), seed=0)
    label = torch.full((3,), 3)
    torch.testing.assert_close(three.decode(z), model.decode(z, label=label))  # type: ignore[call-arg]
    assert three.sample(3, seed=0).shape == (3, 1, 8, 8)
