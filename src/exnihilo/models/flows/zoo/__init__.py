"""Named flows, grouped by idea."""

from exnihilo.models.flows.zoo.couplings import realnvp

__all__ = ["realnvp"]
