from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import nn

from exnihilo.core import DataSpec, ModelError, OptionError, create, find_recipe, list_models, recipe
from exnihilo.core.registry import Recipe, check_options, signature_options
from tests.core.models import SPEC, Bell, bell


def loader(
    source: str,
    *,
    size: Annotated[int, 1, 1024] = 32,
    rate: float = 0.5,
    shuffle: bool = True,
    norm: Literal["batch", "none"] = "batch",
    label: str | None = None,
    limit: Annotated[int, 1, 100] | None = None,
    hidden: int = 0,
) -> None:
    """A function whose keywords are options."""


OPTIONS = signature_options(loader, skip=("hidden",))


def test_the_signature_is_the_schema() -> None:
    assert list(OPTIONS) == ["size", "rate", "shuffle", "norm", "label", "limit"]
    assert (OPTIONS["size"].type, OPTIONS["size"].default, OPTIONS["size"].low, OPTIONS["size"].high) == (
        int,
        32,
        1,
        1024,
    )
    assert OPTIONS["norm"].choices == ("batch", "none")
    assert OPTIONS["label"].optional
    assert (OPTIONS["limit"].optional, OPTIONS["limit"].high) == (True, 100)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("size", "64", 64), ("size", 64, 64), ("rate", "1e-3", 0.001), ("rate", 1, 1.0), ("shuffle", "no", False),
        ("shuffle", "true", True), ("norm", "none", "none"), ("label", "none", None), ("label", None, None),
        ("label", "species", "species"), ("limit", "None", None), ("limit", "7", 7),
    ],
)  # fmt: skip
def test_values_come_in_their_type_from_python_and_from_the_shell(name: str, given: Any, value: Any) -> None:
    parsed = OPTIONS[name].parse(given, "loader")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("size", "many"), ("size", 2.5), ("size", 0), ("size", "1025"), ("size", True), ("size", None), ("rate", "nan"),
        ("shuffle", "maybe"), ("norm", "bach"), ("limit", 101),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_what_is_allowed(name: str, given: Any) -> None:
    with pytest.raises(OptionError, match=f"loader: {name}=.* is not allowed.*It takes"):
        OPTIONS[name].parse(given, "loader")


def test_a_misspelt_choice_is_offered_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean 'batch'"):
        OPTIONS["norm"].parse("bacth", "loader")


def test_all_options_are_written_out() -> None:
    assert check_options(OPTIONS, {"size": "8"}, "loader") == {
        "size": 8, "rate": 0.5, "shuffle": True, "norm": "batch", "label": None, "limit": None,
    }  # fmt: skip
    with pytest.raises(OptionError, match=r"loader has no option 'sise'. Did you mean 'size'\? It takes: size, rate"):
        check_options(OPTIONS, {"sise": 8}, "loader")


def register(name: str = "bell", kinds: tuple[str, ...] = ("vector",), year: int = 1999) -> Recipe:
    def build(data: DataSpec, *, width: Annotated[int, 1, 64] = 8) -> Bell:
        """One Gaussian."""
        return Bell(data.size)

    build.__name__ = name
    recipe("Bells", f"Author, {year}", kinds=kinds)(build)
    return find_recipe(name)


def test_a_recipe_knows_its_paper_its_class_and_what_it_can_do(recipes: dict[str, Recipe]) -> None:
    recipe("On Bells", "Gauss, 1809", arxiv="1809.00001", kinds=("vector", "table"))(bell)
    entry = recipes["bell"]
    assert (entry.title, entry.year, entry.arxiv, entry.kinds) == ("On Bells", 1809, "1809.00001", ("vector", "table"))
    assert entry.summary == "One Gaussian."
    assert entry.model is Bell
    assert entry.capabilities == ("sample", "log_prob", "log_prob_bound", "energy", "score")
    assert list(entry.options) == ["width", "kind"]
    assert list(entry.sampling) == ["scale"]


def test_a_model_carries_its_recipe_its_options_and_its_data() -> None:
    register()
    model = create("bell", SPEC, width="16")
    assert (model.recipe, model.options, model.spec) == ("bell", {"width": 16}, SPEC)
    assert not model.training


def test_two_recipes_of_one_name_are_refused() -> None:
    register()
    with pytest.raises(ModelError, match="Two recipes are named 'bell'"):
        register()


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    register("wgan_gp")
    assert find_recipe("wgan-gp").name == find_recipe("WGAN_GP").name == "wgan_gp"
    with pytest.raises(ModelError, match=r"no model 'wgan-pg'. Did you mean 'wgan_gp'\? `exnihilo models` lists all 1"):
        find_recipe("wgan-pg")


def test_a_wrong_option_is_refused_before_anything_is_built() -> None:
    built = []

    def eager(data: DataSpec, *, width: int = 8) -> Bell:
        """Notes that it was built."""
        built.append(width)
        return Bell(data.size)

    recipe("Eager", "Author, 2000", kinds=("vector",))(eager)
    with pytest.raises(OptionError, match="Did you mean 'width'"):
        create("eager", SPEC, widht=16)
    assert not built


def test_data_of_another_kind_are_refused_with_models_that_take_them() -> None:
    register("bell", ("vector",))
    register("painter", ("image",))
    with pytest.raises(ModelError, match=r"bell models vector, not image data. For image data: painter"):
        create("bell", DataSpec("image", (1, 8, 8), levels=17))


def test_lists_are_filtered_and_sorted() -> None:
    register("young", ("vector",), 2020)
    register("old", ("image",), 1990)
    assert [entry.name for entry in list_models()] == ["old", "young"]
    assert [entry.name for entry in list_models(kind="vector")] == ["young"]
    assert [entry.name for entry in list_models(family="own")] == ["old", "young"]
    with pytest.raises(ModelError, match=r"no family 'owm'. Did you mean 'own'\?"):
        list_models(family="owm")


def test_creation_is_a_function_of_its_seed_and_leaves_the_random_state_alone() -> None:
    def network(data: DataSpec, *, width: int = 8) -> Bell:
        """Has random weights."""
        model = Bell(data.size)
        model.mean = nn.Parameter(torch.randn(data.size))
        return model

    recipe("Network", "Author, 2001", kinds=("vector",))(network)
    before = torch.get_rng_state()
    first, same, other = (create("network", SPEC, seed=seed).mean for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


OWN = '''
from exnihilo.core import DataSpec, recipe
from tests.core.models import Bell

@recipe("Mine", "Me, 2026", kinds=("vector",))
def mine(data: DataSpec, *, width: int = 8) -> Bell:
    """My own."""
    return Bell(data.size)
'''


def test_an_own_recipe_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "my_models.py"
    file.write_text(OWN)
    model = create(f"{file}:mine", SPEC, width=4)
    assert model.recipe == f"{file}:mine"
    assert find_recipe(f"{file}:mine").family == "own"
    with pytest.raises(ModelError, match=r"registers no recipe 'mien'. Did you mean 'mine'\? It has: mine"):
        find_recipe(f"{file}:mien")


def test_an_own_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match=r"no file 'nowhere.py'; an own recipe is named FILE.py:FUNCTION"):
        find_recipe("nowhere.py:mine")


def test_an_own_recipe_may_not_take_a_name_that_is_taken(tmp_path: Path) -> None:
    register("mine")
    file = tmp_path / "taken.py"
    file.write_text(OWN)
    with pytest.raises(ModelError, match=r"Two recipes are named 'mine'.*Rename one"):
        find_recipe(f"{file}:mine")
