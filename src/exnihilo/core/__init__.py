"""The contracts everyone speaks; no networks, no files."""

from exnihilo.core.average import PowerAverage
from exnihilo.core.columns import Column
from exnihilo.core.conditions import NOTHING, Conditions
from exnihilo.core.data import Attribute, Batch, Data, DataSpec, check_mask
from exnihilo.core.errors import (
    DataError,
    ExnihiloError,
    ModelError,
    OptionError,
    RunError,
    TrainingError,
    Unsupported,
    did_you_mean,
    listing,
)
from exnihilo.core.model import CAPABILITIES, Findings, GenerativeModel, Prediction, Trainable
from exnihilo.core.noise import Noise, seeded
from exnihilo.core.optimizers import adam, adamw, cosine, linear, rmsprop, sgd, sghmc
from exnihilo.core.player import Player, Stage, Terms
from exnihilo.core.registry import create, find_recipe, list_models, recipe

__all__ = [
    "CAPABILITIES", "NOTHING", "Attribute", "Batch", "Column", "Conditions", "Data", "DataError", "DataSpec",
    "ExnihiloError", "Findings", "GenerativeModel", "ModelError", "Noise", "OptionError", "Player", "PowerAverage",
    "Prediction", "RunError", "Stage", "Terms", "Trainable", "TrainingError", "Unsupported", "adam", "adamw",
    "check_mask", "cosine", "create", "did_you_mean", "find_recipe", "linear", "list_models", "listing", "recipe",
    "rmsprop", "seeded", "sghmc", "sgd",
]  # fmt: skip
