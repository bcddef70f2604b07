"""Named energy-based models, grouped by idea."""

from exnihilo.models.energy.zoo.boltzmann import rbm

__all__ = ["rbm"]
