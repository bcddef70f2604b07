"""A folder per family: its equation, its slots, its zoo."""
