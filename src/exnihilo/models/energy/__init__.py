"""Energy-based models: an unnormalised density, learned and sampled with Markov chains."""

from exnihilo.models.energy import zoo
from exnihilo.models.energy.boltzmann import RestrictedBoltzmannMachine
from exnihilo.models.energy.family import EnergyModel
from exnihilo.models.energy.machines import Restricted
from exnihilo.models.energy.negatives import Contrastive, Negative, Persistent

__all__ = ["Contrastive", "EnergyModel", "Negative", "Persistent", "Restricted", "RestrictedBoltzmannMachine", "zoo"]
