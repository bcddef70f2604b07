"""A folder per family: its equation, its slots, its zoo. Importing a zoo registers its recipes."""
