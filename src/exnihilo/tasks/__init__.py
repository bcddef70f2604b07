"""What trained models are good for. A task asks for capabilities, never for families."""

from exnihilo.tasks.anomaly_scores import Scorer, scores_of
from exnihilo.tasks.attack import Attacked, attack, attackable
from exnihilo.tasks.balance import Balanced, balance, group_accuracy, group_figures
from exnihilo.tasks.classes import only_classes, without_classes
from exnihilo.tasks.compress import (
    Compressed,
    compress,
    compress_sound,
    compress_text,
    decompress,
    decompress_sound,
    decompress_text,
)
from exnihilo.tasks.detect import Detected, detect, rows_of_table
from exnihilo.tasks.edit import Edited, edit
from exnihilo.tasks.exchange import Imported, export_diffusers, import_diffusers
from exnihilo.tasks.forecast import Forecast, forecast, forecast_ahead
from exnihilo.tasks.gaps import hide, with_gaps
from exnihilo.tasks.impute import Filled, fill, impute
from exnihilo.tasks.judged import Judged
from exnihilo.tasks.noise_attacks import fgsm, iterative, universal
from exnihilo.tasks.rareness import Rareness, auroc, average_precision
from exnihilo.tasks.represent import initialise, represent
from exnihilo.tasks.restore import Restored, restore
from exnihilo.tasks.tables import FilledTable, fill_table

__all__ = [
    "Attacked", "Balanced", "Compressed", "Detected", "Edited", "Filled", "FilledTable", "Forecast", "Imported",
    "Judged", "Rareness", "Restored", "Scorer", "attack", "attackable", "auroc", "average_precision", "balance",
    "compress", "compress_sound", "compress_text", "decompress", "decompress_sound", "decompress_text", "detect",
    "edit", "export_diffusers", "fgsm", "fill", "fill_table", "forecast", "forecast_ahead", "group_accuracy",
    "group_figures", "hide", "import_diffusers", "impute", "initialise", "iterative", "only_classes", "represent",
    "restore", "rows_of_table", "scores_of", "universal", "with_gaps", "without_classes",
]  # fmt: skip
