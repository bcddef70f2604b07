from __future__ import annotations

from typing import Any

import pytest
import torch

from exnihilo.core import Attribute, DataError, DataSpec, Noise, Unsupported
from exnihilo.core.conditions import Conditions, require_taken, resolve_conditions
from tests.core.models import CLASSES

FACES = DataSpec(
    "image", (1, 8, 8), levels=256, attributes=(
        Attribute("smile", "yes/no"),
        Attribute("hair", "category", ("black", "fair", "red")),
        Attribute("age", "number", mean=40.0, scale=10.0),
    ),
)  # fmt: skip


def resolve(n: int = 2, spec: DataSpec = CLASSES, labelled: bool = True, **asked: Any) -> Conditions:
    return resolve_conditions(Conditions(**asked), n, spec, labelled, Noise(0, n))


@pytest.mark.parametrize(
    ("label", "numbers"),
    [("bee", [1, 1]), (2, [2, 2]), (["ant", "cat"], [0, 2]), (torch.tensor([1, 0]), [1, 0]), (-1, [-1, -1])],
)
def test_labels_are_asked_by_name_or_number(label: Any, numbers: list[int]) -> None:
    asked = resolve(label=label).label
    assert asked.tolist() == numbers
    assert asked.dtype == torch.int64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": "beee"}, r"no class 'beee'. Did you mean 'bee'\? The classes are: ant, bee, cat"),
        ({"label": 3}, "no class 3"),
        ({"label": ["ant", "bee", "cat"]}, "2 samples need one condition or 2; 3 were given"),
        ({"labelled": False, "label": "ant"}, "trained without labels"),
        ({"given": torch.zeros(3, 1)}, "2 samples need 2 rows of given; 3"),
        ({"spec": FACES, "labelled": False, "attributes": {"smiel": "yes"}}, r"Did you mean 'smile'\?"),
        ({"spec": FACES, "labelled": False, "attributes": {"hair": "rde"}}, r"Did you mean 'red'\? It takes: black"),
        ({"spec": FACES, "labelled": False, "attributes": {"smile": "perhaps"}}, "give yes or no"),
        ({"spec": FACES, "labelled": False, "attributes": torch.zeros(2, 2)}, r"\(2, 3\) needed"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve(**asked)


def test_classes_are_only_asked_of_data_that_have_them() -> None:
    assert resolve(spec=FACES, labelled=True).label is None
    with pytest.raises(DataError, match="no labels"):
        resolve(spec=FACES, labelled=True, label="ant")


def test_attributes_are_asked_by_name_and_unknown_where_not_asked() -> None:
    rows = resolve(spec=FACES, labelled=False, attributes={"smile": "yes", "age": [30, 50]}).attributes
    assert rows[:, 0].tolist() == [1.0, 1.0]
    assert rows[:, 1].isnan().all()
    assert rows[:, 2].tolist() == [-1.0, 1.0]
    rows = resolve(spec=FACES, labelled=False, attributes={"hair": ["red", None]}).attributes
    assert rows[0, 1] == 2
    assert rows[1, 1].isnan()


def test_the_parts_of_a_request_go_to_the_samples_they_belong_to() -> None:
    part = resolve(n=5, label=["ant", "bee", "cat", "bee", "ant"]).part(1, 3, torch.device("cpu"))
    assert part.label.tolist() == [1, 2]
    assert part.given is None


def test_what_a_model_would_not_look_at_is_refused() -> None:
    require_taken(Conditions(attributes={"smile": "yes"}, label="ant"), frozenset({"attributes"}), "ddpm")
    with pytest.raises(Unsupported, match=r"ddpm take no `given`, so it would change nothing\. It takes attributes\."):
        require_taken(Conditions(given=torch.zeros(2, 1)), frozenset({"attributes"}), "ddpm")
    with pytest.raises(Unsupported, match=r"gan take no `mask`, so it would change nothing\. No model does"):
        require_taken(Conditions(mask=torch.zeros(2, 1)), frozenset(), "gan")
