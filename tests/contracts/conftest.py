from __future__ import annotations

from pathlib import Path

import pytest

from exnihilo.models.diffusion import checks, continuous, family
from exnihilo.training.hooks import Pictures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one recipe on one kind of data follow each other, so that they can share what was trained."""
    cases = {place: case for place, item in enumerate(items) if (case := _case(item))}
    order = {case: number for number, case in enumerate(dict.fromkeys(cases.values()))}
    sorted_items = [items[place] for place in sorted(cases, key=lambda place: order[cases[place]])]
    for place, item in zip(cases, sorted_items, strict=True):
        items[place] = item


def _case(item: pytest.Item) -> tuple[str, str] | None:
    """The recipe and the kind that a test of this folder is about."""
    told = getattr(getattr(item, "callspec", None), "params", {})
    return (told["name"], told["kind"]) if Path(__file__).parent in item.path.parents and "kind" in told else None


@pytest.fixture(autouse=True)
def coarse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps along denoisers' flows, few examples to look at, no pictures: contracts are about meaning, laws of
    densities about precision."""
    if request.module.__name__.endswith("test_every_recipe"):
        monkeypatch.setattr(continuous, "DENSITY_STEPS", 3)
        monkeypatch.setattr(family, "CODE_STEPS", 5)
        monkeypatch.setattr(checks, "EXAMPLES", 8)
        monkeypatch.setattr(Pictures, "MOMENTS", ())
