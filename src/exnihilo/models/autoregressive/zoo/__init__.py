"""Named autoregressive models, grouped by idea."""

from exnihilo.models.autoregressive.zoo.pixels import gated_pixelcnn, pixelcnn, pixelcnn_pp, pixelrnn
from exnihilo.models.autoregressive.zoo.vectors import fvsbn, made, nade

__all__ = ["fvsbn", "gated_pixelcnn", "made", "nade", "pixelcnn", "pixelcnn_pp", "pixelrnn"]
