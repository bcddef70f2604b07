"""exnihilo."""
