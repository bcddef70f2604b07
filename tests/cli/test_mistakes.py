"""Every mistake is one clear message with what to type instead, exit code 2, and nothing written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

MISTAKES = [
    ("train vea moons --steps 1", r"no model 'vea'. Did you mean 'vae'\?.*exnihilo models"),
    ("train real-npv moons --steps 1", r"no model 'real-npv'. Did you mean 'realnvp'\?"),
    ("train nowhere.py:mine moons --steps 1", r"no file 'nowhere.py'; an own recipe is named FILE.py:FUNCTION"),
    ("train vae moons --steps 1 -o latnet=2", r"vae has no option 'latnet'. Did you mean 'latent'\?"),
    ("train vae moons --steps 1 -o latent=many", r"latent=many is not allowed.*a whole number"),
    (
        "train vae moons --steps 1 -o latent",
        r"-o latent is not allowed. It takes option=value, for example -o width=32",
    ),
    ("train vae moons --steps 1 -o latent=2 -o latent=3", r"-o latent is given twice"),
    ("train vae moons --steps 1 -o seed=2", r"vae has no option 'seed'"),
    ("train dcgan moons --steps 1", r"dcgan models image, not vector data. For vector data: .*gan"),
    ("train vae mooons --steps 1", r"mooons.*[Dd]id you mean 'moons'"),
    ("train vae nowhere.csv --steps 1", r"nowhere.csv"),
    ("train vae moons --steps 1 -d nose=0.1", r"no option 'nose'. Did you mean 'noise'\?"),
    ("train vae moons --steps 1 -d noise=loud", r"noise=loud is not allowed.*a number"),
    ("train vae moons --steps 1 -d source=digits", r"no option 'source'"),
    ("train vae moons --steps 0", r"steps=0 is not allowed"),
    ("train vae moons --seconds -1", r"seconds=-1.0 is not allowed"),
    ("train vae moons --steps 1 --seconds 1", r"either steps \(updates\) or seconds, not both"),
    ("train vae moons --steps 1 --device gpu", r"no device 'gpu'"),
    ("sample nowhere -n 4 --out x.csv", r"no run folder 'nowhere'. Train one: exnihilo train"),
    ("evaluate nowhere", r"no run folder 'nowhere'"),
    ("show ddmp", r"no model 'ddmp'. Did you mean 'ddpm'\?"),
    ("models --family gasn", r"no family 'gasn'. Did you mean 'gans'\?"),
    ("models --data nowhere/", r"nowhere"),
    ("data digit", r"Did you mean 'digits'\?"),
    ("data digits -d lable=x", r"no option 'lable'"),
    ("compare vea --data moons --seconds 1 --out r", r"no model 'vea'. Did you mean 'vae'\?"),
    ("compare vae:latnet=2 --data moons --seconds 1 --out r", r"no option 'latnet'. Did you mean 'latent'\?"),
    ("compare vae --data mooons --seconds 1 --out r", r"[Dd]id you mean 'moons'"),
    ("compare vae --data moons --seconds 0 --out r", r"seconds=0.* is not allowed"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_clear_message(exnihilo: Command, folder: Path, line: str, message: str) -> None:
    answer = exnihilo(line)
    assert answer.code == 2
    assert answer.out == ""
    told = [text for text in answer.err.splitlines() if text.startswith("exnihilo: ")]
    assert len(told) == 1, answer.err
    assert re.search(message, told[0]), answer.err
    assert "Traceback" not in answer.err
    assert not list(folder.iterdir()), "something was written"


@pytest.mark.parametrize("line", ["trian vae moons", "train vae", "train vae moons --step-count 3", "sample r -n few"])
def test_a_wrong_use_says_how_to_ask(exnihilo: Command, folder: Path, line: str) -> None:
    answer = exnihilo(line)
    assert answer.code == 2
    assert answer.out == ""
    assert "Usage: exnihilo" in answer.err
    assert not list(folder.iterdir())


def test_a_folder_that_holds_no_run_is_named(exnihilo: Command, folder: Path) -> None:
    (folder / "pictures").mkdir()
    for line in ("sample pictures --out x.png", "evaluate pictures"):
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, "")
        assert "pictures is not a run folder: it has no run.json" in answer.err


def test_a_bug_is_a_traceback_and_one(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from exnihilo.core import DataSpec, GenerativeModel, recipe\n"
        "@recipe('t', 'a, 2000', kinds=('vector',))\n"
        "def broken(data: DataSpec) -> GenerativeModel:\n"
        "    return 1 / 0\n"
    )
    command = [sys.executable, "-m", "exnihilo", "train", "broken.py:broken", "moons", "--steps", "1", "--out", "r"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert "ZeroDivisionError" in answer.stderr
    assert not (tmp_path / "r").exists()
