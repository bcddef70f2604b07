"""Energy-based models: an unnormalised density, learned and sampled with Markov chains."""

from exnihilo.models.energy import zoo
from exnihilo.models.energy.boltzmann import RestrictedBoltzmannMachine
from exnihilo.models.energy.contrast import NoiseContrastive
from exnihilo.models.energy.deep import DeepBoltzmannMachine
from exnihilo.models.energy.family import EnergyModel
from exnihilo.models.energy.general import BoltzmannMachine
from exnihilo.models.energy.hopfield import Hopfield, ModernHopfield
from exnihilo.models.energy.machines import Restricted
from exnihilo.models.energy.negatives import Contrastive, Negative, Persistent
from exnihilo.models.energy.pairwise import Pairwise
from exnihilo.models.energy.replay import DeepEnergyModel, JointEnergyModel, Replay
from exnihilo.models.energy.scores import ScoreModel
from exnihilo.models.energy.stacked import DeepBeliefNet

__all__ = [
    "BoltzmannMachine",
    "Contrastive",
    "DeepBeliefNet",
    "DeepBoltzmannMachine",
    "DeepEnergyModel",
    "EnergyModel",
    "Hopfield",
    "JointEnergyModel",
    "ModernHopfield",
    "Negative",
    "NoiseContrastive",
    "Pairwise",
    "Persistent",
    "Replay",
    "Restricted",
    "RestrictedBoltzmannMachine",
    "ScoreModel",
    "zoo",
]
