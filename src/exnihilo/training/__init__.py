"""The trainer: stages of rounds of players, resumable at any moment."""

from exnihilo.training.budget import Budget
from exnihilo.training.folder import RunFolder
from exnihilo.training.hardware import Hardware
from exnihilo.training.hooks import Hook
from exnihilo.training.run import Run, load_model, save_model, train
from exnihilo.training.trainer import Trainer

__all__ = ["Budget", "Hardware", "Hook", "Run", "RunFolder", "Trainer", "load_model", "save_model", "train"]
