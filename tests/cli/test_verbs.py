"""The verbs on small data: what they print, what they write, and that --json is JSON and nothing else."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from exnihilo.core import list_models
from tests.cli.conftest import Answer, Command


def parsed(answer: Answer) -> Any:
    """The JSON that a command printed; fails on anything else on standard output."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.fixture
def flowers(folder: Path) -> Path:
    """A small table with two numbers, a category and a missing value."""
    rows = [
        {"id": k, "length": 1.0 + k % 7, "width": None if k == 3 else 0.5 * (k % 5), "species": ("oak", "elm")[k % 2]}
        for k in range(60)
    ]
    path = folder / "flowers.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


# -- lists ---------------------------------------------------------------------------------------------------------


def test_models_lists_every_recipe(exnihilo: Command) -> None:
    listed = parsed(exnihilo("models --json"))
    assert [entry["name"] for entry in listed] == [entry.name for entry in list_models()]
    assert {"family", "year", "summary", "capabilities", "kinds", "title", "authors", "arxiv"} <= set(listed[0])
    page = exnihilo("models").out
    assert all(entry["name"] in page for entry in listed)


def test_models_are_filtered_by_family_and_by_data(exnihilo: Command) -> None:
    assert {entry["family"] for entry in parsed(exnihilo("models --family gans --json"))} == {"gans"}
    fitting = {entry["name"] for entry in parsed(exnihilo("models --data moons --json"))}
    assert "gan" in fitting
    assert "dcgan" not in fitting


def test_show_explains_a_model(exnihilo: Command) -> None:
    record = parsed(exnihilo("show realnvp --json"))
    assert record["name"] == "realnvp"
    assert "log" in record["equation"]
    assert record["options"]["width"]["type"] == "int"
    page = exnihilo("show realnvp").out
    for part in ("width", record["options"]["width"]["default"], "It can sample", record["title"], record["arxiv"]):
        assert str(part) in page


def test_names_may_be_written_with_dashes(exnihilo: Command) -> None:
    assert parsed(exnihilo("show Flow-Matching --json"))["name"] == "flow_matching"


# -- data ----------------------------------------------------------------------------------------------------------


def test_data_lists_the_embedded_sets(exnihilo: Command) -> None:
    assert {"digits", "iris", "moons"} <= {entry["name"] for entry in parsed(exnihilo("data --json"))}
    assert "digits" in exnihilo("data").out


def test_data_says_what_was_understood(exnihilo: Command, flowers: Path) -> None:
    answer = exnihilo("data flowers.csv -d label=species -d drop=id")
    assert answer.code == 0
    told = ("kind table", "elm 30, oak 30", "length: a number", "may be missing", "Warning: Only 60", "can be changed")
    assert [part for part in told if part not in answer.out] == []
    assert Image.open("previews/flowers.png").size[0] > 0


def test_data_as_json(exnihilo: Command, flowers: Path) -> None:
    record = parsed(exnihilo("data flowers.csv -d label=species --out look.png --json"))
    assert record["options"]["label"] == "species"
    assert sum(record["splits"].values()) == 60
    assert record["spec"]["class_names"] == ["elm", "oak"]
    assert record["preview"] == "look.png"
    assert Path("look.png").exists()


# -- train, sample, evaluate -----------------------------------------------------------------------------------------


def test_from_a_table_to_new_rows_with_its_columns(exnihilo: Command, flowers: Path) -> None:
    line = "train gmm flowers.csv -d label=species -d drop=id --steps 5 --out run"
    answer = exnihilo(line)
    assert answer.code == 0, answer.err
    assert "finished" in answer.out
    answer = exnihilo("sample run -n 9 --out new.csv --seed 3")
    assert answer.code == 0, answer.err
    rows = pd.read_csv("new.csv")
    assert list(rows.columns)[:2] == ["length", "width"]
    assert len(rows) == 9
    again = exnihilo("sample run -n 4 --out fewer.csv --seed 3")
    assert again.code == 0
    pd.testing.assert_frame_equal(pd.read_csv("fewer.csv"), rows[:4])
    result = parsed(exnihilo("evaluate run --json"))
    assert result["name"] == "gmm"
    assert {"value", "low", "high", "n", "protocol"} <= set(result["values"]["frechet"])
    page = exnihilo("evaluate run").out
    assert "frechet" in page


def test_pictures_carry_how_they_were_made(exnihilo: Command) -> None:
    answer = exnihilo("train vae digits --steps 3 -o width=8 --out run --json --seed 5 --threads 1")
    record = parsed(answer)
    assert (record["recipe"], record["seed"], record["status"], record["threads"]) == ("vae", 5, "finished", 1)
    assert record["options"]["width"] == 8
    answer = exnihilo("sample run -n 10 --seed 2 --out grid.png")
    assert answer.code == 0, answer.err
    facts = Image.open("grid.png").info
    assert facts["recipe"] == "vae"
    assert json.loads(facts["options"])["width"] == 8
    assert facts["seed"] == "2"
    assert facts["weights"] == record["weights"]
    written = parsed(exnihilo("sample run -n 3 --out folder --json"))
    assert len(list(Path("folder").iterdir())) == 3
    assert sorted(written["files"]) == sorted(str(path) for path in Path("folder").iterdir())


def test_a_budget_and_a_folder_not_given_are_stated_aloud(exnihilo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exnihilo.cli.train.SECONDS", 0.2)
    answer = exnihilo("train gan moons -d n=200 -o width=8")
    assert answer.code == 0, answer.err
    assert "No budget given: training for 0.2 seconds" in answer.err
    assert "kept in runs/gan-moons" in answer.err
    assert Path("runs/gan-moons/weights.safetensors").exists()


def test_another_run_in_the_folder_is_refused_and_fresh_starts_anew(exnihilo: Command) -> None:
    line = "train gan moons -d n=200 -o width=8 --out run --steps"
    assert exnihilo(f"{line} 2").code == 0
    assert exnihilo(f"{line} 2").code == 0  # finished: reported
    other = exnihilo(f"{line} 3")
    assert other.code == 2
    assert "--fresh" in other.err
    assert exnihilo(f"{line} 3 --fresh").code == 0


def test_an_own_recipe_trains_from_its_file(exnihilo: Command, folder: Path) -> None:
    (folder / "my_models.py").write_text(
        "from exnihilo.core import DataSpec, recipe\n"
        "from exnihilo.models.gans.family import GAN\n"
        "from exnihilo.nets.mlp import MLP\n"
        "@recipe('Mine', 'Me, 2026', kinds=('vector',))\n"
        "def cli_test_gan(data: DataSpec, *, width: int = 8) -> GAN:\n"
        "    '''My own.'''\n"
        "    return GAN(MLP((2,), data.shape, width), MLP(data.shape, (1,), width), latent=2)\n"
    )
    answer = exnihilo("train my_models.py:cli_test_gan moons -d n=200 -o width=4 --steps 2 --out run")
    assert answer.code == 0, answer.err
    assert exnihilo("sample run -n 5 --out points.csv").code == 0
    assert list(pd.read_csv("points.csv").columns) == ["x", "y"]


def test_a_run_stopped_by_the_user_is_saved_and_exits_with_130(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "exnihilo",
        *shlex.split("train gan moons -d n=200 -o width=8 --steps 5000 --out run"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    waited = time.monotonic() + 60
    while not (tmp_path / "run" / "journal.jsonl").exists() and process.poll() is None and time.monotonic() < waited:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Stopped; the run is saved" in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "stopped"
    assert record["state"] is not None


# -- compare -------------------------------------------------------------------------------------------------------


def test_compare_ends_in_a_report_and_a_sentence(exnihilo: Command) -> None:
    line = "compare gmm vae:width=8 --data iris --seconds 0.5 --out report"
    answer = exnihilo(line)
    assert answer.code == 0, answer.err
    assert Path("report/report.html").exists()
    assert "report/report.html" in answer.out
    record = parsed(exnihilo(f"{line} --json"))  # finished models are reused
    assert record


def test_a_comparison_stopped_by_the_user_exits_with_130(exnihilo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("exnihilo.workbench.compare", stopped)
    answer = exnihilo("compare gmm --data moons --seconds 1 --out report")
    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in answer.err
