"""The verbs of the public face; each calls one function of the layer that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import exnihilo.models  # noqa: F401  registers every recipe
from exnihilo.core import create, list_models
from exnihilo.data import list_datasets
from exnihilo.data import load_data as _load_data
from exnihilo.evaluation import compare, evaluate
from exnihilo.training import load_model as load
from exnihilo.training import train

if TYPE_CHECKING:
    from exnihilo.data import Dataset

__all__ = ["compare", "create", "evaluate", "list_datasets", "list_models", "load", "load_data", "train"]


def load_data(source: Any, /, *, without: str = "", **options: Any) -> Dataset:
    """Examples from a name, a path or something in memory: see `exnihilo.data.load_data`, whose options these are.

    without: classes to leave out (comma separated), as anomalies that training is not to see; see `tasks.detect`.
    """
    data = _load_data(source, **options)
    if not without:
        return data
    from exnihilo.tasks.classes import without_classes

    return without_classes(data, without)
