"""Features, statistics, numbers: how good, how diverse, how fast, how likely."""
