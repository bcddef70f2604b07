"""What trained models are good for. A task asks for capabilities, never for families."""

from exnihilo.tasks.balance import Balanced, balance, group_accuracy, group_figures
from exnihilo.tasks.gaps import hide, with_gaps
from exnihilo.tasks.impute import Filled, fill, impute
from exnihilo.tasks.judged import Judged
from exnihilo.tasks.represent import initialise, represent
from exnihilo.tasks.tables import FilledTable, fill_table

__all__ = [
    "Balanced", "Filled", "FilledTable", "Judged", "balance", "fill", "fill_table", "group_accuracy", "group_figures",
    "hide", "impute", "initialise", "represent", "with_gaps",
]  # fmt: skip
