from __future__ import annotations

from pathlib import Path

import pytest

import exnihilo.models  # noqa: F401  registers the recipes that comparisons name
from exnihilo.data import Dataset, load_data


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Extractors trained in these tests are kept for the session, away from the user's."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("EXNIHILO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_data("digits")


@pytest.fixture(scope="session")
def iris() -> Dataset:
    return load_data("iris")
