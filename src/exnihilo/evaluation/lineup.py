"""Which models a comparison trains: names with options, and line-ups that suit the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exnihilo.core import DataSpec, ModelError, OptionError, find_recipe, listing
from exnihilo.core.registry import RECIPES, Recipe, check_options

#: Four deep and three classical models a kind, the better known first; those that are not registered are left out.
LINE_UPS: dict[str, tuple[str, ...]] = {
    "image": ("vae", "dcgan", "pixelcnn", "flow_matching", "rbm", "gmm", "kde"),
    "vector": ("vae", "gan", "realnvp", "flow_matching", "pca", "gmm", "kde"),
    "table": ("vae", "gan", "realnvp", "flow_matching", "pca", "gmm", "kde"),
    "series": ("vae", "wgan_gp", "wavenet", "deep_ar", "hmm", "gmm", "kde"),
    "audio": ("wavenet", "vae", "wgan_gp", "gmm"),
    "text": ("gpt",),
}

#: Rows that stand in every comparison, beside real data, noise and independent histograms.
CLASSICAL = ("gmm:components=1", "gmm:components=20", "kde")


@dataclass(frozen=True)
class Entry:
    """One model of a comparison: as the user named it, its recipe, and all options written out."""

    name: str
    recipe: Recipe
    path: str  # what `create` takes: the recipe's name, or FILE.py:NAME
    options: dict[str, Any]
    given: dict[str, Any]  # the options that were named
    baseline: bool = False

    @property
    def folder(self) -> str:
        """A file name: `vae-latent=2`."""
        return re.sub(r"[^\w.=+-]+", "-", self.name).strip("-.")

    @property
    def deep(self) -> bool:
        """Whether it is a network and not a classical model."""
        return self.recipe.family != "classical" and self.recipe.name != "rbm"


def parse_entry(text: str, spec: DataSpec, *, baseline: bool = False) -> Entry:
    """`vae:latent=2,width=32`, `FILE.py:NAME:option=value` or a plain name; every mistake is told before training."""
    parts = text.split(":")
    path = ":".join(parts[:2]) if parts[0].endswith(".py") else parts[0]
    rest = parts[2:] if parts[0].endswith(".py") else parts[1:]
    recipe = find_recipe(path)
    given: dict[str, Any] = {}
    for pair in (pair for part in rest for pair in part.split(",") if pair):
        key, equals, value = pair.partition("=")
        if not equals:
            raise OptionError(f"{text!r}: {pair!r} is no option. Write NAME:option=value, as in vae:latent=2.")
        given[key.strip().replace("-", "_")] = value.strip()
    options = check_options(recipe.options, given, recipe.name)
    if spec.kind not in recipe.kinds:
        raise ModelError(
            f"{recipe.name} models {listing(recipe.kinds)}, not {spec.kind} data. `exnihilo models` lists what fits."
        )
    return Entry(text, recipe, path, options, {key: options[key] for key in given}, baseline)


def line_up(names: Sequence[str] | None, spec: DataSpec) -> list[Entry]:
    """The named models, or those that suit the data's kind, and the classical rows; none of them twice."""
    fitting = {name for name, recipe in RECIPES.items() if spec.kind in recipe.kinds}
    chosen = list(names or [name for name in LINE_UPS[spec.kind] if name in fitting])
    entries = [parse_entry(name, spec) for name in chosen]
    classical = [name for name in CLASSICAL if name.partition(":")[0] in fitting]
    entries += [parse_entry(name, spec, baseline=True) for name in classical]
    unique: dict[str, Entry] = {}
    for entry in entries:
        unique.setdefault(f"{entry.path} {sorted(entry.options.items(), key=str)}", entry)
    folders = [entry.folder for entry in unique.values()]
    if twice := sorted({folder for folder in folders if folders.count(folder) > 1}):
        raise OptionError(f"Two models would share the folder {twice[0]!r}. Name their options differently.")
    return list(unique.values())
