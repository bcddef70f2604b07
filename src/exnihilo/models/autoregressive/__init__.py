"""Autoregressive models: exact likelihoods by the chain rule."""

from exnihilo.models.autoregressive import zoo
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.models.autoregressive.sequences import Sequences

__all__ = ["Autoregressive", "Sequences", "zoo"]
