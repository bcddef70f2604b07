"""From a name or the user's files to batches."""

from exnihilo.data.catalog import list_datasets
from exnihilo.data.dataset import Dataset
from exnihilo.data.describe import describe, preview
from exnihilo.data.sources import data_options, load_data

__all__ = ["Dataset", "data_options", "describe", "list_datasets", "load_data", "preview"]
