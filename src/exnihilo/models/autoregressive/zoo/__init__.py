"""Named autoregressive models, grouped by idea."""

from exnihilo.models.autoregressive.zoo.pixels import pixelcnn

__all__ = ["pixelcnn"]
