"""Named flows, grouped by idea."""

from exnihilo.models.flows.zoo.autoregressive import iaf, maf
from exnihilo.models.flows.zoo.couplings import flow_pp, glow, nice, nsf, realnvp
from exnihilo.models.flows.zoo.free import ffjord, planar_flow, residual_flow

__all__ = ["ffjord", "flow_pp", "glow", "iaf", "maf", "nice", "nsf", "planar_flow", "realnvp", "residual_flow"]
