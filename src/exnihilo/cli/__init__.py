"""The shell face: thin readers of the library."""
