"""Looking at what a model has learnt: walks through its codes, arithmetic with them, and maps of them."""

from exnihilo.explore.arithmetic import Arithmetic, Group, arithmetic, read_formula
from exnihilo.explore.classes import OfClass, of_class
from exnihilo.explore.codes import codes_of_draws, codes_of_examples, typical_codes
from exnihilo.explore.density import CodeDensity, with_density
from exnihilo.explore.interpolate import Interpolation, interpolate, linear, spherical
from exnihilo.explore.manifold import Manifold, manifold
from exnihilo.explore.project import Projection, project
from exnihilo.explore.traverse import Traversal, traverse

__all__ = [
    "Arithmetic", "CodeDensity", "Group", "Interpolation", "Manifold", "OfClass", "Projection", "Traversal",
    "arithmetic", "codes_of_draws", "codes_of_examples", "interpolate", "linear", "manifold", "of_class", "project",
    "read_formula", "spherical", "traverse", "typical_codes", "with_density",
]  # fmt: skip
