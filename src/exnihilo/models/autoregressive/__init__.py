"""Autoregressive models: exact likelihoods by the chain rule."""

from exnihilo.models.autoregressive import zoo
from exnihilo.models.autoregressive.family import Autoregressive

__all__ = ["Autoregressive", "zoo"]
