"""A folder per family: its equation, its slots, its zoo. Importing this package registers every recipe."""

from exnihilo.models import (
    autoencoders,
    autoregressive,
    classical,
    diffusion,
    energy,
    flows,
    gans,
)

__all__ = ["autoencoders", "autoregressive", "classical", "diffusion", "energy", "flows", "gans"]
