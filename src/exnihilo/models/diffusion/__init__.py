"""Diffusion and flow matching: learn to undo noise, then undo it from pure noise."""

from exnihilo.models.diffusion import zoo  # noqa: F401 - registers the recipes
from exnihilo.models.diffusion.family import DenoisingDiffusion, Diffusion, FlowMatching

__all__ = ["DenoisingDiffusion", "Diffusion", "FlowMatching"]
