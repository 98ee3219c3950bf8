"""Experiments: statistics that compare versions (arrays in, numbers out), and the rollout that acts."""
