"""Named diffusion and flow models, grouped by idea."""

from exnihilo.models.diffusion.zoo.foundations import ddpm, flow_matching

__all__ = ["ddpm", "flow_matching"]
