"""The command as a person calls it: in an empty folder, with its exit code and both of its outputs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import exnihilo.models  # registers every recipe
from exnihilo.cli.main import main
from exnihilo.core import registry


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards."""
    monkeypatch.setattr(registry, "RECIPES", dict(registry.RECIPES))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def exnihilo(folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `exnihilo LINE`; exceptions that are bugs come through."""

    def call(line: str = "") -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main(shlex.split(line))
        code = leaving.value.code
        captured = capfd.readouterr()
        return Answer(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call
