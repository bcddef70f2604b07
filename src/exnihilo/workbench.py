"""The verbs of the public face; each calls one function of the layer that does the work."""

from __future__ import annotations

import exnihilo.models  # noqa: F401  registers every recipe
from exnihilo.core import create, list_models
from exnihilo.data import list_datasets, load_data
from exnihilo.evaluation import compare, evaluate
from exnihilo.training import load_model as load
from exnihilo.training import train

__all__ = ["compare", "create", "evaluate", "list_datasets", "list_models", "load", "load_data", "train"]
