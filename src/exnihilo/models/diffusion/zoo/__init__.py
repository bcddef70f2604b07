"""Named diffusion and flow models, grouped by idea."""

from exnihilo.models.diffusion.zoo.foundations import ddpm, flow_matching
from exnihilo.models.diffusion.zoo.likelihood import binomial_diffusion, diffusion_2015, improved_ddpm, vdm
from exnihilo.models.diffusion.zoo.scores import edm, ncsn, score_sde
from exnihilo.models.diffusion.zoo.standard import adm, unet2d
from exnihilo.models.diffusion.zoo.transformers import dit, uvit
from exnihilo.models.diffusion.zoo.transports import consistency, ot_cfm, progressive_distillation, rectified_flow

__all__ = [
    "adm", "binomial_diffusion", "consistency", "ddpm", "diffusion_2015", "dit", "edm", "flow_matching",
    "improved_ddpm", "ncsn", "ot_cfm", "progressive_distillation", "rectified_flow", "score_sde", "unet2d",
    "uvit", "vdm",
]  # fmt: skip
