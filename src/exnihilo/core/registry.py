"""A named model is a function with a paper; its signature is its only schema."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exnihilo.core.data import KINDS, Data, DataSpec
from exnihilo.core.errors import ModelError, OptionError, did_you_mean, listing, some_models
from exnihilo.core.model import GenerativeModel
from exnihilo.core.noise import seeded


@dataclass(frozen=True)
class Option:
    """One keyword of a recipe, a loader or a sampler, as the signature has it: type, default, bounds or choices."""

    name: str
    type: type
    default: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False  # None is allowed

    @property
    def allowed(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return "one of " + listing(self.choices)
        word = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "a word",
            Path: "a run folder",
        }[self.type]
        bounds = f" from {self.low:g} to {self.high:g}" if self.low is not None and self.high is not None else ""
        return word + bounds + (" or none" if self.optional else "")

    def parse(self, value: Any, owner: str) -> Any:
        """The value in its type, from Python or from the shell's text; an OptionError says what is allowed."""
        if value is None or (isinstance(value, str) and value.lower() == "none" and self.optional):
            if self.optional:
                return None
            raise self._wrong(value, owner)
        if self.type is bool:
            words = {
                "true": True,
                "yes": True,
                "on": True,
                "1": True,
                "false": False,
                "no": False,
                "off": False,
                "0": False,
            }
            parsed = value if isinstance(value, bool) else words.get(str(value).lower())
        elif isinstance(value, bool):
            parsed = None
        else:
            try:
                parsed = self.type(value)
            except (TypeError, ValueError):
                parsed = None
            if self.type is int and isinstance(value, float) and parsed != value:
                parsed = None
        outside = isinstance(parsed, int | float) and (
            parsed != parsed
            or (self.low is not None and parsed < self.low)
            or (self.high is not None and parsed > self.high)
        )
        if parsed is None or outside or (self.choices and parsed not in self.choices):
            raise self._wrong(value, owner)
        return parsed

    def _wrong(self, value: Any, owner: str) -> OptionError:
        hint = did_you_mean(str(value), self.choices)
        return OptionError(
            f"{owner}: {self.name}={value} is not allowed.{hint} It takes {self.allowed}; default {self.default}."
        )


@functools.cache
def signature_options(function: Callable[..., Any], skip: tuple[str, ...] = ()) -> dict[str, Option]:
    """The keyword-only parameters of a function as options.

    `int`, `float`, `bool`, `str`, `Literal[...]`, any of them `| None`; bounds as `Annotated[int, 1, 1024]`.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    options = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or name in skip:
            continue
        options[name] = _option(name, hints[name], parameter.default)
    return options


def _option(name: str, hint: Any, default: Any) -> Option:
    low = high = None
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(inner) < len(typing.get_args(hint))
        hint = inner[0]
    if typing.get_origin(hint) is typing.Annotated:
        hint, low, high = typing.get_args(hint)
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    kind = type(choices[0]) if choices else hint
    return Option(name, kind, default, low, high, choices, optional)


def check_options(options: Mapping[str, Option], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """All options written out: the given ones checked, the others at their defaults."""
    for name in given:
        if name not in options:
            hint = did_you_mean(name, options)
            raise OptionError(f"{owner} has no option {name!r}.{hint} It takes: {listing(options)}.")
    return {
        name: option.parse(given[name], owner) if name in given else option.default for name, option in options.items()
    }


@dataclass(frozen=True)
class Recipe:
    """A registered model: the function, its paper and what its signature says."""

    name: str
    build: Callable[..., GenerativeModel]
    title: str
    authors: str
    arxiv: str
    kinds: tuple[str, ...]
    family: str
    options: dict[str, Option]
    table: str = ""

    @property
    def model(self) -> type[GenerativeModel]:
        """The class it builds, from the annotated return."""
        return typing.get_type_hints(self.build)["return"]  # type: ignore[no-any-return]

    @property
    def year(self) -> int:
        """Of the paper."""
        found = re.search(r"\d{4}", self.authors)
        return int(found.group()) if found else 0

    @property
    def summary(self) -> str:
        """One sentence: the first line of the docstring."""
        return (inspect.getdoc(self.build) or "").split("\n")[0]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What its models can do, without building one."""
        return self.model.class_capabilities()

    @property
    def sampling(self) -> dict[str, Option]:
        """The options of its samples: what its models' `draw` takes beyond the conditions of all models."""
        return signature_options(self.model.draw)


RECIPES: dict[str, Recipe] = {}

Build = Callable[..., GenerativeModel]


def recipe(
    title: str,
    authors: str,
    *,
    arxiv: str = "",
    kinds: tuple[str, ...] = ("image", "vector", "table"),
    unfit: Mapping[str, str] | None = None,
    table: str = "",
) -> Callable[[Build], Build]:
    """Register a function `name(data: DataSpec, *, option=default, ...) -> Model` under its own name.

    kinds: of data that it models; unfit: reasons why not, by kind, for the refusal; table: text that `exnihilo show`
    prints below the options, where their choices need more than a word.

    The decorated function checks its options, refuses data of a kind it cannot model, builds, and stamps the model
    with spec, recipe name and options. `data` and `seed` are reserved names.
    """

    def register(build: Build) -> Build:
        name = build.__name__
        if name in RECIPES:
            places = f"in {RECIPES[name].build.__module__} and {build.__module__}"
            raise ModelError(f"Two recipes are named {name!r}: {places}. Rename one.")
        parts = build.__module__.split(".")
        family = parts[2] if parts[:2] == ["exnihilo", "models"] else "own"
        assert set(kinds) <= set(KINDS), f"{name}: unknown kinds {kinds}"
        entry = Recipe(name, build, title, authors, arxiv, kinds, family, signature_options(build), table)

        @functools.wraps(build)
        def checked(data: DataSpec, **options: Any) -> GenerativeModel:
            if data.kind not in entry.kinds:
                others = sorted(RECIPES.values(), key=lambda other: other.family != entry.family)  # relatives first
                fitting = [other.name for other in others if data.kind in other.kinds]
                because = f": {unfit[data.kind]}" if unfit and data.kind in unfit else ""
                instead = f" For {data.kind} data: {some_models(fitting)}." if fitting else ""
                raise ModelError(f"{name} models {listing(entry.kinds)}, not {data.kind} data{because}.{instead}")
            options = check_options(entry.options, options, name)
            model = build(data, **options)
            model.spec, model.recipe, model.options = data, name, options
            return model

        RECIPES[name] = replace(entry, build=checked)
        return checked

    return register


def list_models(family: str | None = None, kind: str | None = None) -> list[Recipe]:
    """Registered recipes, by family and name; `kind` keeps those that can model such data."""
    families = {entry.family for entry in RECIPES.values()}
    if family is not None and family not in families:
        raise ModelError(
            f"There is no family {family!r}.{did_you_mean(family, families)} Families: {listing(sorted(families))}."
        )
    chosen = [
        entry
        for entry in RECIPES.values()
        if (family is None or entry.family == family) and (kind is None or kind in entry.kinds)
    ]
    return sorted(chosen, key=lambda entry: (entry.family, entry.year, entry.name))


def find_recipe(name: str) -> Recipe:
    """A recipe by name, or the user's own as `path/to/file.py:function`."""
    if ":" in name and name.partition(":")[0].endswith(".py"):
        return _own_recipe(*name.rsplit(":", 1))
    if (plain := name.lower().replace("-", "_")) in RECIPES:
        return RECIPES[plain]
    raise ModelError(
        f"There is no model {name!r}.{did_you_mean(name, RECIPES)} `exnihilo models` lists all {len(RECIPES)}."
    )


def _own_recipe(path: str, function: str) -> Recipe:
    file = Path(path).resolve()
    if not file.is_file():
        raise ModelError(f"There is no file {path!r}; an own recipe is named FILE.py:FUNCTION.")
    if not (own := _recipes_of(file)):
        module_name = f"exnihilo_own_{file.stem}"
        module_spec = importlib.util.spec_from_file_location(module_name, file)
        assert module_spec is not None
        assert module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[module_name] = module  # annotations are resolved through it
        module_spec.loader.exec_module(module)
        own = _recipes_of(file)
    if function not in own:
        raise ModelError(
            f"{path} registers no recipe {function!r}.{did_you_mean(function, own)} It has: {listing(own)}."
        )
    return own[function]


def _recipes_of(file: Path) -> dict[str, Recipe]:
    """Those that a file registered."""
    return {
        name: entry for name, entry in RECIPES.items() if Path(inspect.getfile(inspect.unwrap(entry.build))) == file
    }


def create(name: str, data: Data | DataSpec, *, seed: int = 0, **options: Any) -> GenerativeModel:
    """An untrained model of a recipe, shaped for these data; weights drawn from the seed alone."""
    entry = find_recipe(name)
    spec = data if isinstance(data, DataSpec) else data.spec
    with seeded("create", seed):
        model = entry.build(spec, **options)
    model.recipe = name if ":" in name else entry.name
    return model.eval()
