"""Diffusion and flow matching: learn to undo noise, then undo it from pure noise."""

from exnihilo.models.diffusion import zoo  # noqa: F401 - registers the recipes
from exnihilo.models.diffusion.continuous import ContinuousDiffusion
from exnihilo.models.diffusion.discrete import DenoisingDiffusion
from exnihilo.models.diffusion.family import Diffusion

__all__ = ["ContinuousDiffusion", "DenoisingDiffusion", "Diffusion"]
