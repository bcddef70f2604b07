from __future__ import annotations

import pytest

from exnihilo.models.diffusion import continuous, family


@pytest.fixture(autouse=True)
def coarse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps along the flows of denoisers: contracts are about meaning, laws of densities about precision."""
    if request.module.__name__.endswith("test_every_recipe"):
        monkeypatch.setattr(continuous, "DENSITY_STEPS", 3)
        monkeypatch.setattr(family, "CODE_STEPS", 5)
