from __future__ import annotations

import subprocess
import sys

import pytest

from exnihilo import __version__
from tests.cli.conftest import Command

VERBS = (
    "compare",
    "data",
    "train",
    "sample",
    "evaluate",
    "traverse",
    "interpolate",
    "arithmetic",
    "project",
    "models",
    "impute",
    "restore",
    "edit",
    "forecast",
    "compress",
    "decompress",
    "represent",
    "balance",
    "detect",
    "attack",
    "export",
    "import",
    "show",
)


def test_help_shows_every_verb_and_the_main_job(exnihilo: Command) -> None:
    answer = exnihilo("--help")
    assert answer.code == 0
    for verb in VERBS:
        assert f" {verb} " in answer.out
    assert "exnihilo compare --data digits --out reports/digits" in answer.out
    assert "Exit codes" in answer.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(exnihilo: Command, verb: str) -> None:
    answer = exnihilo(f"{verb} --help")
    assert answer.code == 0
    assert f"Usage: exnihilo {verb}" in answer.out
    assert answer.out.count(f"exnihilo {verb}") >= 2, "a usage line and an example"


def test_without_a_verb_the_help_is_shown(exnihilo: Command) -> None:
    answer = exnihilo()
    assert "Usage: exnihilo" in answer.out + answer.err


def test_the_version_is_told(exnihilo: Command) -> None:
    assert exnihilo("--version").out.strip() == f"exnihilo {__version__}"


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "exnihilo", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Usage: exnihilo" in answer.stdout
