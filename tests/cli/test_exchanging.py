"""`exnihilo export` and `exnihilo import`, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def run(exnihilo: Command, folder: Path) -> Path:
    """Three steps of a little standard U-Net on digits."""
    options = "-o maps=8-8a -o depth=1 -o norm_groups=4 -o levels=20"
    assert exnihilo(f"train unet2d digits {options} --steps 3 --threads 1 --out run").code == 0
    return folder / "run"


def test_a_run_goes_and_comes_back(exnihilo: Command, run: Path) -> None:
    answer = exnihilo("export run --to diffusers --out pipe")
    assert answer.code == 0
    assert 'DDPMPipeline.from_pretrained("pipe")' in answer.out
    answer = exnihilo("import pipe --out back")
    assert answer.code == 0
    assert "unet2d, pictures of 1 x 8 x 8, 20 levels of noise. The run: back" in answer.out
    assert "-o solver=ancestral -o threshold=static" in answer.out
    for name in ("run", "back"):
        assert exnihilo(f"sample {name} -n 2 --seed 1 --label 3 -o steps=3 --out {name}.npz").code == 0
    assert Path("run.npz").read_bytes() == Path("back.npz").read_bytes()
    assert exnihilo("evaluate back --data digits -n 16").code == 0


def test_programs_are_told_in_json(exnihilo: Command, run: Path) -> None:
    files = json.loads(exnihilo("export run --label any --out pipe --json").out)["files"]
    assert all(Path(file).is_file() for file in files)
    told = json.loads(exnihilo("import pipe --out back --json").out)
    assert (told["recipe"], told["options"]["maps"]) == ("unet2d", "8-8a")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export run --out run", "run holds other things"),
        ("export run --label seven --out pipe", "There is no class 'seven'"),
        ("export other --out pipe", "There is no run folder 'other'"),
        ("import run --out back", "run is not a pipeline of diffusers"),
        ("evaluate back", "so it has no data of its own"),
    ],
)
def test_mistakes_are_told_in_a_line(exnihilo: Command, run: Path, line: str, message: str) -> None:
    if line.startswith("evaluate"):
        exnihilo("export run --out pipe")
        exnihilo("import pipe --out back")
    answer = exnihilo(line)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) <= 2
