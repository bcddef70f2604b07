"""Normalising flows: exact densities by a change of variables."""

from exnihilo.models.flows import zoo
from exnihilo.models.flows.bases import Base, StandardNormal
from exnihilo.models.flows.couplings import flat_couplings, image_couplings
from exnihilo.models.flows.family import Flow

__all__ = ["Base", "Flow", "StandardNormal", "flat_couplings", "image_couplings", "zoo"]
