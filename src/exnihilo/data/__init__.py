"""From a name or the user's files to batches."""
