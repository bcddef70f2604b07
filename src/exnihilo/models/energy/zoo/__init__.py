"""Named energy-based models, grouped by idea."""

from exnihilo.models.energy.zoo.boltzmann import boltzmann, dbm, dbn, rbm
from exnihilo.models.energy.zoo.continuous import ebm, jem, nce, score_matching
from exnihilo.models.energy.zoo.memories import hopfield, modern_hopfield

__all__ = ["boltzmann", "dbm", "dbn", "ebm", "hopfield", "jem", "modern_hopfield", "nce", "rbm", "score_matching"]
