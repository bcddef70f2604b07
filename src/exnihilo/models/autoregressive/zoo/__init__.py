"""Named autoregressive models, grouped by idea."""

from exnihilo.models.autoregressive.zoo.pixels import gated_pixelcnn, pixelcnn, pixelcnn_pp, pixelrnn
from exnihilo.models.autoregressive.zoo.sequences import deep_ar, gpt, wavenet
from exnihilo.models.autoregressive.zoo.vectors import fvsbn, made, nade

__all__ = [
    "deep_ar", "fvsbn", "gated_pixelcnn", "gpt", "made", "nade", "pixelcnn", "pixelcnn_pp", "pixelrnn", "wavenet",
]  # fmt: skip
