"""A registry of its own for every test, so that what tests register is gone afterwards."""

from __future__ import annotations

import pytest

from exnihilo.core import registry


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, registry.Recipe]:
    fresh: dict[str, registry.Recipe] = {}
    monkeypatch.setattr(registry, "RECIPES", fresh)
    return fresh
