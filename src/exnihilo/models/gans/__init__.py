"""Generative adversarial networks: a generator and a critic of its samples learn against each other."""

from exnihilo.models.gans import zoo
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.objectives import Objective
from exnihilo.models.gans.penalties import R1, GradientPenalty, Penalty

__all__ = ["GAN", "GradientPenalty", "Objective", "Penalty", "R1", "zoo"]
