from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from exnihilo.core import ModelError, OptionError, RunError, TrainingError
from exnihilo.data import Dataset
from exnihilo.evaluation import Report, Result, Row, Value, compare
from exnihilo.evaluation.advice import advise
from exnihilo.evaluation.lineup import line_up, parse_entry
from exnihilo.evaluation.rows import COLUMNS, winners

COMPARE = "exnihilo.evaluation.compare"


def quiet(text: str) -> None:
    """Nothing is said."""


@pytest.fixture(scope="module")
def folder(iris: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    compare(["vae:width=8,latent=2", "gan:width=8", "pca"], iris, steps=20, out=out, say=quiet)
    return out


def test_the_report_holds_models_floor_ceiling_and_baselines(folder: Path) -> None:
    record = json.loads((folder / "report.json").read_text())
    names = [row["name"] for row in record["rows"]]
    assert all(row["result"]["name"] == row["name"] for row in record["rows"])
    assert names[0] == "real data"
    assert names[-1] == "noise"
    expected = {"vae:width=8,latent=2", "gan:width=8", "pca", "gmm:components=1", "gmm:components=20", "kde"}
    assert expected <= set(names)
    assert all("result" in row and "error" not in row for row in record["rows"])
    assert "exnihilo compare vae:width=8,latent=2 gan:width=8 pca --data iris" in record["command"]
    assert "--steps 20" in record["command"]


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") > 8
    assert "{{" not in page
    assert (folder / "pictures" / "trilemma.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "pictures" / "curves.png").exists()


def test_finished_models_and_their_figures_are_reused(folder: Path, iris: Dataset) -> None:
    before = json.loads((folder / "report.json").read_text())
    weights = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/weights.safetensors")}
    report = compare(["vae:width=8,latent=2", "gan:width=8", "pca"], iris, steps=20, out=folder, say=quiet)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    after = report.to_json()
    digests = [{row["name"]: row["result"]["digest"] for row in part["rows"]} for part in (before, after)]
    assert all(digests[0][name] == digests[1][name] for name in ("vae:width=8,latent=2", "gan:width=8", "kde"))
    with pytest.raises(RunError, match="budget"):
        compare(["gan:width=8"], iris, steps=21, out=folder, say=quiet)


def test_a_crash_is_told_in_its_row_and_loses_nothing(
    iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    module = sys.modules[COMPARE]
    real = module.train

    def fragile(model: torch.nn.Module, *arguments: object, **keywords: object) -> object:
        if model.recipe == "gan":
            raise TrainingError("it was not finite")
        if model.recipe == "kde":
            raise ValueError("a bug")
        return real(model, *arguments, **keywords)

    monkeypatch.setattr(module, "train", fragile)
    report = compare(["gan:width=8", "gmm"], iris, steps=3, out=tmp_path, say=quiet)
    rows = {row.name: row for row in report.rows}
    assert rows["gan:width=8"].error == "it was not finite"
    assert rows["kde"].error == "ValueError: a bug"
    assert rows["gmm"].result is not None
    assert "a bug" in (tmp_path / "runs" / "kde.error.txt").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "it was not finite" in page
    assert "failed" in report.text()


def test_ctrl_c_keeps_what_is_done(iris: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules[COMPARE]
    real = module.train

    def stopped(model: torch.nn.Module, *arguments: object, **keywords: object) -> object:
        run = real(model, *arguments, **keywords)
        if model.recipe == "gan":
            run.record["status"] = "stopped"
        return run

    monkeypatch.setattr(module, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(["gmm", "gan:width=8", "vae"], iris, steps=3, out=tmp_path, say=quiet)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["finished"] is False
    assert {row["name"] for row in record["rows"]} == {"real data", "noise", "gmm"}


def test_mistakes_are_told_before_anything_is_trained(iris: Dataset, tmp_path: Path) -> None:
    for names, error, text in (
        (["gmm", "vea"], ModelError, "Did you mean 'vae'"),
        (["gmm", "vae:latnet=2"], OptionError, "Did you mean 'latent'"),
        (["vae:latent"], OptionError, "NAME:option=value"),
        (["pixelcnn"], ModelError, "models image"),
    ):
        with pytest.raises(error, match=text):
            compare(names, iris, steps=3, out=tmp_path / "r", say=quiet)
    with pytest.raises(OptionError, match="no device 'gpu'"):
        compare(["gmm"], iris, steps=1, out=tmp_path / "r", device="gpu", say=quiet)
    with pytest.raises(OptionError, match="seconds=0"):
        compare(["gmm"], iris, seconds=0, out=tmp_path / "r", say=quiet)
    assert not (tmp_path / "r").exists()


def test_line_ups_suit_the_data_and_name_nothing_twice(digits: Dataset, iris: Dataset) -> None:
    for data in (digits, iris):
        entries = line_up(None, data.spec)
        chosen = [entry for entry in entries if not entry.baseline]
        assert sum(entry.deep for entry in chosen) == 4
        assert sum(not entry.deep for entry in chosen) == 3
        keys = [(entry.path, str(entry.options)) for entry in entries]
        assert len(set(keys)) == len(keys)
    assert [entry.folder for entry in line_up(["gmm:components=20"], iris.spec)].count("gmm-components=20") == 1


def test_an_own_recipe_can_be_compared(iris: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from exnihilo.core import DataSpec, recipe\n"
        "from exnihilo.models.classical.mixture import GMM, FittedMixture\n"
        "@recipe('Mine', 'Me, 2026')\n"
        "def compared_mixture(data: DataSpec, *, components: int = 2) -> GMM:\n"
        "    '''My own.'''\n"
        "    return GMM(FittedMixture(data.size, components, 'full', 1e-3))\n"
    )
    entry = parse_entry(f"{tmp_path}/mine.py:compared_mixture:components=3", iris.spec)
    assert entry.options == {"components": 3}
    assert "/" not in entry.folder


# -- advice --------------------------------------------------------------------------------------------------------


def row(name: str, ratio: float, half: float, *, deep: bool = True, copies: bool = False, speed: float = 100.0) -> Row:
    values = {
        "ratio": Value(ratio, ratio - half, ratio + half, 1000, "ratio"),
        "recall": Value(0.5, 0.4, 0.6, 1000, "recall"),
        "distance_ratio": Value(0.3 if copies else 1.0, 0.3, 0.4 if copies else 1.1, 1000, "distance"),
        "preference_ratio": Value(0.3 if copies else 1.0, 0.3, 0.4 if copies else 1.1, 1000, "distance"),
        "samples_per_second": Value(speed, speed, speed, 1000, "speed"),
    }
    return Row(name, "model", Result(name, values), deep=deep)


def test_a_clear_winner_is_named_with_its_figures() -> None:
    text = advise([row("a", 2, 0.2), row("b", 4, 0.3), row("c", 9, 1)], 360)
    assert text.startswith("a suits these data best")
    assert "2 (1.8–2.2)" in text
    assert "the next, b, 4 (3.7–4.3)" in text


def test_what_cannot_be_told_apart_is_said() -> None:
    text = advise([row("a", 2, 1), row("b", 2.5, 1), row("c", 9, 1)], 360)
    assert text.startswith("The figures cannot tell a and b apart")
    simple = advise([row("a", 2, 1), row("mixture", 2.5, 1, deep=False)], 360)
    assert "mixture, the simplest of them, is enough" in simple


def test_a_copier_is_never_recommended() -> None:
    rows = [row("copier", 1, 0.1, copies=True), row("honest", 3, 0.1)]
    text = advise(rows, 360)
    assert text.startswith("honest suits")
    assert "copier copies training examples" in text
    assert winners(rows, COLUMNS[0]) == ["honest"]
    assert advise(rows[:1], 360).startswith("No model could be recommended")


def test_bad_models_and_few_examples_are_not_praised() -> None:
    assert advise([row("a", 40, 1), row("b", 60, 1)], 360).startswith("None of these models comes near")
    assert advise([row("a", 2, 0.1), row("b", 5, 0.1)], 30).endswith("with only 30 test examples, take this as a hint.")


def test_a_fast_rival_is_mentioned() -> None:
    text = advise([row("slow", 2, 0.1, speed=10), row("fast", 3, 0.1, speed=50_000)], 360)
    assert "if speed matters, fast draws" in text


def test_an_empty_report_is_written_for_failures_only(iris: Dataset, tmp_path: Path) -> None:
    from exnihilo.evaluation import Reference

    report = Report([Row("a", error="no")], Reference.of(iris), {"steps": 1}, "command")
    report.write(tmp_path)
    assert "No model could be recommended" in (tmp_path / "report.html").read_text()
