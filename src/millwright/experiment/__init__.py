"""Statistics that compare versions: arrays in, numbers out."""
