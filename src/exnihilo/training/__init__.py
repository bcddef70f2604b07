"""The trainer: rounds of players, resumable at any moment."""
