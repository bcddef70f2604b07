"""Attributes: yes/no, one of several, numbers, unknown; free text is left out aloud."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from exnihilo.data.attributes import read_attributes


def test_every_way_to_say_yes_and_no() -> None:
    for yes, no in ((True, False), ("yes", "no"), (1, 0), (1, -1), ("TRUE", "False"), (1.0, 0.0)):
        attributes, values = read_attributes(pd.DataFrame({"smile": [yes, no, None, yes]}), [])
        assert attributes[0].kind == "yes/no"
        assert values is not None
        assert torch.equal(values[:, 0].nan_to_num(9), torch.tensor([1.0, 0.0, 9.0, 1.0]))


def test_numbers_are_standardised_and_three_signs_are_numbers() -> None:
    attributes, values = read_attributes(pd.DataFrame({"age": [20, 30, None, 40], "mood": [-1, 0, 1, 1]}), [])
    assert [fact.kind for fact in attributes] == ["number", "number"]
    assert values is not None
    assert values[0, 0] == np.float32(attributes[0].encode(20))
    assert values[2, 0].isnan()
    assert values[[0, 1, 3], 0].mean().abs() < 1e-6


def test_categories_and_free_text() -> None:
    notes: list[str] = []
    frame = pd.DataFrame({"hair": ["dark", "fair"] * 4, "author": [f"person {place}" for place in range(8)]})
    attributes, values = read_attributes(frame, notes)
    assert [fact.name for fact in attributes] == ["hair"]
    assert attributes[0].categories == ("dark", "fair")
    assert values is not None
    assert values.shape == (8, 1)
    assert any("'author' holds 8 different texts: left out as an attribute" in note for note in notes)


def test_none_at_all() -> None:
    attributes, values = read_attributes(pd.DataFrame(index=range(3)), [])
    assert attributes == ()
    assert values is None
