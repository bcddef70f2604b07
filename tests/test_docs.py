"""The documentation is true: its code runs, its table is current, its links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import exnihilo as xn
import exnihilo.models  # registers every recipe
from exnihilo.cli.main import main
from exnihilo.core import create, registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page registers is gone afterwards."""
    monkeypatch.setattr(registry, "RECIPES", dict(registry.RECIPES))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_table_of_models_is_current() -> None:
    spec = importlib.util.spec_from_file_location("models_table", ROOT / "scripts" / "models_table.py")
    assert spec is not None
    assert spec.loader is not None
    models_table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models_table)
    text = (ROOT / "README.md").read_text()
    assert models_table.with_table(text) == text, "make docs-table"
    assert "`flow_matching`" in text


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where judging takes few examples."""
    monkeypatch.setattr(importlib.import_module("exnihilo.evaluation.evaluate"), "EXAMPLES", 16)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_quick_start_in_python_runs(quick: Path) -> None:
    (code,) = blocks("README.md", "python")
    for shown, tried in (("seconds=60", "steps=2"), ("evaluate(model, data)", "evaluate(model, data, n=64)")):
        assert shown in code
        code = code.replace(shown, tried)
    exec(compile(code, "README.md", "exec"), {})
    assert (quick / "runs" / "python" / "weights.safetensors").exists()


def test_the_quick_start_in_the_shell_runs(quick: Path) -> None:
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines() if line.startswith("exnihilo")]
    lines = [line for line in lines if "pictures/" not in line and "table.csv" not in line]  # the reader's own
    assert len(lines) >= 7
    for line in lines:
        short = re.sub(r"--seconds \d+", "--seconds 0.5", line).replace("evaluate", "evaluate -n 64")
        arguments = shlex.split(short, comments=True)
        with pytest.raises(SystemExit) as leaving:
            main(arguments[1:])
        assert leaving.value.code in (0, None), line
    assert (quick / "samples.png").exists()
    assert (quick / "reports" / "vae" / "report.html").exists()


def test_the_example_of_a_table_runs(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_table.py"), run_name="__main__")
    assert "diameter" in capsys.readouterr().out


def test_the_example_of_digits_runs(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["digits.py", "0.5"])
    runpy.run_path(str(ROOT / "examples" / "digits.py"), run_name="__main__")
    assert (quick / "runs" / "example-digits.png").exists()


@pytest.mark.parametrize("source", ["moons", "digits", "iris"])
def test_the_walk_through_adding_a_model_is_true(source: str, tmp_path: Path) -> None:
    file = tmp_path / "my_models.py"
    file.write_text("\n\n".join(blocks("docs/adding-a-model.md", "python")))
    data = xn.load_data(source)
    for name in ("squares_gan", "diagonal"):
        model = create(f"{file}:{name}", data, seed=0, **({"width": 8} if name == "squares_gan" else {}))
        xn.train(model, data, steps=2, progress=False, threads=1)
        assert model.sample(3, seed=0).isfinite().all()
        assert len(model.spec.decode(model.sample(3, seed=0))) == 3
    assert registry.find_recipe(f"{file}:squares_gan").capabilities == ("sample", "decode")
    assert list(registry.find_recipe(f"{file}:diagonal").sampling) == ["temperature"]


def test_a_new_family_of_the_walk_through_finds_the_best_gaussian(tmp_path: Path) -> None:
    file = tmp_path / "my_models.py"
    file.write_text("\n\n".join(blocks("docs/adding-a-model.md", "python")))
    data = xn.load_data("moons", n=500)
    model = create(f"{file}:diagonal", data, seed=0)
    xn.train(model, data, steps=600, progress=False, threads=1)
    x = data.split("train").first().x
    best = torch.distributions.Normal(x.mean(dim=0), x.std(dim=0)).log_prob(x).sum(dim=1).mean()
    assert float(model.log_prob(x).mean()) == pytest.approx(float(best), abs=0.01)


def test_the_page_on_the_run_folder_names_every_key(tmp_path: Path) -> None:
    data = xn.load_data("moons", n=200)
    run = xn.train(xn.create("gan", data, width=8), data, steps=2, out=tmp_path / "run", progress=False, threads=1)
    page = (ROOT / "docs" / "run-folder.md").read_text()
    assert [key for key in run.record if f"`{key}`" not in page] == []
    assert [path.name for path in (tmp_path / "run").iterdir() if f"`{path.name}" not in page] == []


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == xn.__version__
    assert f"version: {xn.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {xn.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_has_its_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    exact = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    names = [re.split(r"[<>=\[]", requirement)[0].strip().lower() for requirement in wanted]
    assert [name for name in names if f"\n{name}==" not in exact] == []
    assert "\ntorch==2.13.0\n" in exact
