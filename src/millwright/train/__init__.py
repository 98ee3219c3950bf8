"""From a dataset to a measured model: backbones, features, heads, tuning, calibration, metrics."""
