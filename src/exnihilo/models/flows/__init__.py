"""Normalising flows: exact densities by a change of variables."""

from exnihilo.models.flows import zoo
from exnihilo.models.flows.autoregressive import autoregressive_steps
from exnihilo.models.flows.bases import Base, StandardLogistic, StandardNormal
from exnihilo.models.flows.couplings import flat_couplings, glow_steps, image_couplings
from exnihilo.models.flows.family import Flow

__all__ = [
    "Base", "Flow", "StandardLogistic", "StandardNormal", "autoregressive_steps", "flat_couplings", "glow_steps",
    "image_couplings", "zoo",
]  # fmt: skip
