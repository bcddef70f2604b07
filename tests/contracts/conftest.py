from __future__ import annotations

import pytest

from exnihilo.models.diffusion import checks, continuous, family
from exnihilo.training.hooks import Pictures


@pytest.fixture(autouse=True)
def coarse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps along the flows of denoisers, few samples and examples to look at: contracts are about meaning, laws of
    densities about precision."""
    if request.module.__name__.endswith("test_every_recipe"):
        monkeypatch.setattr(continuous, "DENSITY_STEPS", 3)
        monkeypatch.setattr(family, "CODE_STEPS", 5)
        monkeypatch.setattr(checks, "EXAMPLES", 8)
        monkeypatch.setattr(Pictures, "SHOWN", 4)
        monkeypatch.setattr(Pictures, "MOMENTS", (1.0,))
