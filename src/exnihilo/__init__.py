"""exnihilo, out of noise: every family of deep generative models behind one interface, on your own data.

import exnihilo as xn
data = xn.load_data("digits")
model = xn.create("flow_matching", data)
run = xn.train(model, data, seconds=60, out="runs/digits")
x = xn.load("runs/digits").sample(64, seed=0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exnihilo.workbench import compare, create, evaluate, list_datasets, list_models, load, load_data, train

__version__ = "0.1.0"
__all__ = ["compare", "create", "evaluate", "list_datasets", "list_models", "load", "load_data", "train"]


def __getattr__(name: str) -> Any:
    """The verbs, imported when first used, so that `exnihilo.core` alone stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'exnihilo' has no attribute {name!r}; its verbs are {', '.join(__all__)}")
    from exnihilo import workbench

    return getattr(workbench, name)
